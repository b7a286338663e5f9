#!/usr/bin/python
"""Ansible module: the certificate of a plain icinga2, asked for until it is there."""

DOCUMENTATION = r"""
---
module: icinga2_enrollment
short_description: Enroll a plain icinga2 agent, behind parents of any release
version_added: "0.1.0"
author: The Icefloe developers (@icefloe)
description:
  - Gets the certificate of an icinga2 that is installed on the host, with C(icinga2 pki
    new-cert) and C(icinga2 pki request). Nothing of Icefloe has to be there.
  - One key is made and kept. The request is repeated with it, with growing pauses, until
    it is signed or O(deadline) has passed. A satellite of 2.14.4 cuts its first answer
    off and gives the certificate to whoever asks again with the same key; one of any
    other release says C(pending) first. Neither needs C(until) in the playbook.
  - Says truthfully how it ended; a certificate that is only requested is not called
    signed. A refusal changes no file, C(ca.crt) included, so that other tools ask again.
  - What exists is copied to O(backup_dir) before it is replaced.
options:
  cn:
    description: The node's name.
    type: str
    required: true
  parents:
    description: The nodes of the zone above; they are asked in turn.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The parent's common name.
        type: str
        required: true
      host:
        description: Its name in the DNS or its address; its name when it is not given.
        type: str
      port:
        description: Its port.
        type: int
        default: 5665
  ticket:
    description:
      - The ticket for O(cn), from the signer.
      - C(icinga2 pki request) takes a ticket only as an argument, so users of the host
        can see it in the process list while that runs. Mount C(/proc) with C(hidepid)
        if that matters, or use Icefloe's own agent.
    type: str
  ca_certificate:
    description:
      - The CA's certificate, as PEM text or as a path on the host. A parent is trusted
        when it shows a certificate of this CA with its own name. A C(ca.crt) that is
        there already serves when this is not given.
    type: str
  trusted_certificates:
    description: Certificates of parents, as PEM text or paths on the host.
    type: list
    elements: str
    default: []
  parent_fingerprints:
    description: SHA-256 fingerprints of certificates of parents.
    type: list
    elements: str
    default: []
  trust_on_first_use:
    description: Whether any parent is believed. It is told the ticket.
    type: bool
    default: false
  wait_for:
    description:
      - V(signed) fails when the certificate is not there in time.
      - V(asked) is content with a request that is pending; icinga2's daemon goes on
        asking.
    type: str
    choices: [signed, asked]
    default: signed
  deadline:
    description: How many seconds the whole may take.
    type: int
    default: 300
  replace_unusable:
    description:
      - Whether a key and a certificate that are no pair, or for another name, are
        replaced by new ones; otherwise the module fails.
    type: bool
    default: false
  certs_dir:
    description: Where icinga2 has its certificates.
    type: path
    default: /var/lib/icinga2/certs
  backup_dir:
    description: Where copies go; O(certs_dir) with C(-backups) behind it by default.
    type: path
  executable:
    description: The program, by name or path.
    type: str
    default: icinga2
  user:
    description:
      - The daemon's user, to whom all that is written belongs. By default the owner of
        O(certs_dir).
    type: str
  group:
    description: The daemon's group; by default that of O(certs_dir).
    type: str
attributes:
  check_mode:
    description: Changes nothing and asks nobody; says what would be changed.
    support: full
  diff_mode:
    description: Shows the certificate's state before and after.
    support: full
notes:
  - Restart icinga2 when the module has changed something; its configuration (zones,
    C(api) feature) is the business of other tools.
"""

EXAMPLES = r"""
- name: A certificate for an icinga2 agent behind a satellite
  icefloe.icefloe.icinga2_enrollment:
    cn: "{{ inventory_hostname }}"
    parents:
      - name: sat1.example.org
        host: 10.20.0.2
    ca_certificate: "{{ from_signer.ca_certificate }}"
    ticket: "{{ from_signer.ticket }}"
  notify: Restart icinga2
"""

RETURN = r"""
code:
  description: How it ended, one of Icefloe's codes (C(docs/problems.md)).
  returned: always
  type: str
  sample: signed
state:
  description: C(signed), C(requested) (self-signed), or C(none).
  returned: always
  type: str
asks:
  description: How many requests were made.
  returned: always
  type: int
attempts:
  description: What they came to, one line for each that brought something new.
  returned: always
  type: list
next:
  description: What to do.
  returned: when it did not end signed
  type: str
certificate:
  description: Name, fingerprint and end of the certificate that is there.
  returned: always
  type: dict
backup:
  description: The directory with copies of what was there.
  returned: when something was replaced
  type: str
"""

import grp
import os
import pwd
import random
import time
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.icefloe.icefloe.plugins.module_utils.certificate import (
    Certificate,
    NotACertificate,
    read_certificate,
    to_pem,
    why_not_signed,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.identity_files import (
    IdentityFiles,
    files_state,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.parent import (
    DEFAULT_PORT,
    Parent,
    Trust,
    read_trust,
    see_that_it_was_signed,
    trusted_certificate,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.pki_request import (
    FINAL,
    Came,
    judge,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.problems import (
    PASSES_BY_ITSELF,
    Problem,
    sentence,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.program import (
    Ran,
    find_program,
    run_program,
)

PAUSE_FIRST = 1.0
PAUSE_MAX = 10.0
"""Seconds: a signer behind two satellites needs one or two; a person needs longer."""

PAUSE_FACTOR = 1.6

ASK_SECONDS_MIN = 5.0
"""One request gets so many at least; it would be killed before it has begun."""

HOPELESS = frozenset({"trust-mismatch", "trust-missing", "other-trouble"})
"""When every parent of a round ends so, another round would, too."""

WORTH = ("trust-mismatch", "unreachable", "cut-off", "pending", "refused-by-parent")
"""What parents said, from silence to an answer; the rest counts less."""


def main() -> None:
    """Enroll."""
    module = AnsibleModule(
        argument_spec={
            "cn": {"type": "str", "required": True},
            "parents": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "host": {"type": "str"},
                    "port": {"type": "int", "default": DEFAULT_PORT},
                },
            },
            "ticket": {"type": "str", "no_log": True},
            "ca_certificate": {"type": "str"},
            "trusted_certificates": {"type": "list", "elements": "str", "default": []},
            "parent_fingerprints": {"type": "list", "elements": "str", "default": []},
            "trust_on_first_use": {"type": "bool", "default": False},
            "wait_for": {
                "type": "str",
                "choices": ["signed", "asked"],
                "default": "signed",
            },
            "deadline": {"type": "int", "default": 300},
            "replace_unusable": {"type": "bool", "default": False},
            "certs_dir": {"type": "path", "default": "/var/lib/icinga2/certs"},
            "backup_dir": {"type": "path"},
            "executable": {"type": "str", "default": "icinga2"},
            "user": {"type": "str"},
            "group": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        params = module.params
        files = IdentityFiles(
            *(params["cn"], params["certs_dir"], params["backup_dir"]),
            user=params["user"],
            group=params["group"],
        )
    except Problem as problem:
        next_step = problem.next_step(module.params["cn"])
        text = sentence(problem.code, problem.detail, next_step)
        module.fail_json(msg=text, code=problem.code, next=next_step)
    else:
        Agent(module, files).bring_about()


class Agent:
    """A plain icinga2, and how it comes to its certificate."""

    def __init__(self, module: Any, files: IdentityFiles) -> None:
        self.module = module
        self.params = module.params
        self.files = files
        self.end = time.monotonic() + self.params["deadline"]
        self.ticket = (self.params["ticket"] or "").strip()
        self.program = ""
        self.attempts: List[str] = []
        self.asks = 0
        self.changed = False
        self.before = self.described()

    def bring_about(self) -> None:
        """Do it, and end the module."""
        try:
            if self.module.check_mode:
                self.end_check()
            self.enroll()
        except Problem as problem:
            self.fail(problem)
        except OSError as error:
            said = f"'{error.filename}': {error.strerror}"
            self.fail(Problem("file-trouble", said))

    def enroll(self) -> None:
        """See that the certificate is there.

        Raises:
            Problem: It cannot be had.
            OSError: A file cannot be used.
        """
        files = self.files
        program = find_program(self.module, self.params["executable"])
        if program is None:
            said = f"there is no '{self.params['executable']}' on this host"
            raise Problem("file-trouble", said)
        self.program = program
        files.make_directory()
        self.changed = files.finish_interrupted()
        if not self.is_enrolled():
            self.see_to_the_pair()
            came = self.ask_until_signed()
            if came.code != "signed":
                self.leave_to_the_daemon(came)
        # A run that was cut short after the certificate's rename has left it, too.
        dropped = files.drop_ticket(self.ticket)
        self.took(changed=dropped)
        self.succeed("signed" if self.changed else "nothing-to-do")

    # The identity

    def is_enrolled(self) -> bool:
        """Say whether the certificate that is there needs nobody to be asked."""
        certificate, anchor = self.files.present(), self.files.anchor()
        if certificate is None or anchor is None or not self.files.has_key():
            return False
        try:
            given = self.given_root()
        except Problem:
            given = None  # it may be gone: nobody has to be asked
        return (
            not certificate.is_self_signed
            and certificate.issuer == anchor.subject
            # Every CA of Icinga has the same name.
            and (given is None or given.public_key == anchor.public_key)
            and certificate.is_valid_at(time.time())
            and self.files.why_unusable() is None
        )

    def see_to_the_pair(self) -> None:
        """See that there are a key and a certificate to ask with.

        Raises:
            Problem: Those that are there cannot be used, or new ones not be made.
        """
        if self.files.has_key():
            why = self.files.why_unusable()
            if why is None:
                return
            if not self.params["replace_unusable"]:
                raise Problem("identity-broken", why)
        part = self.files.part()
        key, made = os.path.join(part, "node.key"), os.path.join(part, "node.crt")
        ran = self.icinga2(
            *("new-cert", "--cn", self.params["cn"], "--key", key, "--cert", made)
        )
        if ran.code != 0 or not (os.path.exists(key) and os.path.exists(made)):
            said = f"'icinga2 pki new-cert' ended with {ran.code}: {ran.said}"
            raise Problem("other-trouble", said)
        self.files.install_pair()
        self.took(changed=True)

    # Asking

    def ask_until_signed(self) -> Came:
        """Ask the parents in turn, with pauses, until it is decided or time is up.

        Raises:
            Problem: There is nobody to ask, or nothing says whom to trust.
        """
        parents, trust = self.parents(), self.trust()
        pause = PAUSE_FIRST
        best: Optional[Came] = None
        while True:
            hopeless = True
            for parent in parents:
                came = self.ask(parent, trust)
                if came.code == "signed" or came.code in FINAL:
                    return came
                hopeless = hopeless and came.code in HOPELESS
                if best is None or _worth(came) >= _worth(best):
                    best = came
            if best is None or hopeless or self.is_enough(best):
                break
            rest = pause * random.uniform(0.75, 1.25)  # noqa: S311 - a jitter
            if time.monotonic() + rest >= self.end:
                break
            time.sleep(rest)
            pause = min(pause * PAUSE_FACTOR, PAUSE_MAX)
        return best or Came("other-trouble", "nobody was asked")

    def is_enough(self, came: Came) -> bool:
        """Say whether a request is pending that only a person can decide."""
        waits = self.params["wait_for"] == "asked" and not self.ticket
        return waits and came.code == "pending"

    def parents(self) -> List[Parent]:
        """Return whom to ask.

        Raises:
            Problem: There is nobody.
        """
        found = [
            Parent(each["name"], each["host"] or each["name"], each["port"])
            for each in self.params["parents"]
        ]
        if not found:
            raise Problem("trust-missing", "'parents' is empty: there is nobody to ask")
        return found

    def trust(self) -> Trust:
        """Return whom to trust; a CA certificate that is there counts.

        Raises:
            Problem: Nothing says so.
        """
        params = self.params
        given = params["ca_certificate"]
        others = params["trusted_certificates"] or params["parent_fingerprints"]
        if not given and not others and self.files.anchor() is not None:
            given = self.files.ca
        trust = read_trust(
            given,
            params["parent_fingerprints"],
            params["trusted_certificates"],
            first_use=params["trust_on_first_use"],
        )
        if trust.is_empty:
            raise Problem("trust-missing", "nothing says which parent is to be trusted")
        return trust

    def ask(self, parent: Parent, trust: Trust) -> Came:
        """Ask one parent once, and put in place what comes of it."""
        try:
            came = self.ask_trusted(parent, trust)
        except Problem as problem:
            came = Came(problem.code, problem.detail)
        finally:
            self.files.discard_copies()
        line = f"{came.code}: {came.detail}"
        if line not in self.attempts[-1:]:
            self.attempts.append(line)
        return came

    def ask_trusted(self, parent: Parent, trust: Trust) -> Came:
        """Ask one parent once, when it is the one that is trusted.

        Raises:
            Problem: It is not, or cannot be reached, or sent what cannot be used.
        """
        leaf = trusted_certificate(parent, trust)
        copies = self.files.copies()
        with open(copies["trusted.crt"], "w", encoding="ascii") as target:
            target.write(to_pem(leaf.der))
        words = [
            *("request", "--host", parent.host, "--port", str(parent.port)),
            *("--key", copies["key"], "--cert", copies["node.crt"]),
            *("--ca", copies["ca.crt"], "--trustedcert", copies["trusted.crt"]),
        ]
        if self.ticket:
            words += ["--ticket", self.ticket]
        self.asks += 1
        ran = self.icinga2(*words)
        request, text = self.files.present(), _text(copies["node.crt"])
        is_new = text != _text(self.files.certificate) and _found_in(text) != request
        came = judge(ran, str(parent), is_new=is_new)
        if came.code == "signed":
            root = _certificate(_text(copies["ca.crt"]))
            self.check_root(root, trust, parent, leaf)
            self.check(_certificate(text), request, root, copies)
            changed = self.files.take_over(copies, ["ca.crt", "node.crt"])
            self.took(changed=bool(changed))
        elif came.code == "pending" and self.files.anchor() is None:
            if os.path.exists(copies["ca.crt"]):
                root = _certificate(_text(copies["ca.crt"]))
                self.check_root(root, trust, parent, leaf)
            self.took(changed=bool(self.files.take_over(copies, ["ca.crt"])))
        return came

    def check(
        self,
        got: Certificate,
        request: Optional[Certificate],
        root: Certificate,
        copies: Dict[str, str],
    ) -> None:
        """Look at a certificate before it is put in place.

        Raises:
            Problem: It is not for this key and name, or not from the CA that came.
        """
        if request is None or got.public_key != request.public_key:
            raise Problem("invalid-certificate", "the certificate is for another key")
        if got.common_name != self.params["cn"]:
            said = f"the certificate is for '{got.common_name}'"
            raise Problem("invalid-certificate", said)
        why = why_not_signed(copies["node.crt"], copies["key"], to_pem(root.der))
        if why is not None:
            said = f"it is not from the CA that came along: {why}"
            raise Problem("invalid-certificate", said)

    def check_root(
        self, root: Certificate, trust: Trust, parent: Parent, leaf: Certificate
    ) -> None:
        """See that a CA certificate that came is one to be trusted, or renewed.

        Args:
            root: What came.
            trust: What says whom to trust.
            parent: Who sent it.
            leaf: The certificate by which that was recognised.

        Raises:
            Problem: It has another key than the known one, or the parent that a
                fingerprint pins is not of this CA.
        """
        if trust.ca_pem is not None:
            if read_certificate(trust.ca_pem).public_key != root.public_key:
                known = "ca_certificate" if self.params["ca_certificate"] else "ca.crt"
                said = f"the CA certificate that came along is not of '{known}'"
                raise Problem("invalid-certificate", said)
        elif trust.fingerprints or trust.pinned:
            try:
                see_that_it_was_signed(parent, leaf, to_pem(root.der))
            except Problem as problem:
                if problem.code != "trust-mismatch":
                    raise
                said = (
                    "the CA certificate that came along has not signed the certificate "
                    f"of {parent} that is trusted"
                )
                raise Problem("invalid-certificate", said) from None

    def given_root(self) -> Optional[Certificate]:
        """Return the CA certificate of the options; None when there is none.

        Raises:
            Problem: It cannot be read.
        """
        given = self.params["ca_certificate"]
        if not given:
            return None
        return read_certificate(read_trust(given, [], []).ca_pem or "")

    def icinga2(self, *words: str) -> Ran:
        """Run a command of `icinga2 pki`, as the daemon's user is called."""
        user, group = _owner_of(self.files.directory)
        return run_program(
            self.module,
            [self.program, "pki", *words],
            user=self.params["user"] or user,
            group=self.params["group"] or group,
            seconds_max=max(ASK_SECONDS_MIN, self.end - time.monotonic()),
        )

    # Ending

    def leave_to_the_daemon(self, came: Came) -> None:
        """End without a certificate.

        Raises:
            Problem: The certificate was waited for.
        """
        waits = came.code in PASSES_BY_ITSELF
        if waits and self.ticket:
            self.took(changed=self.files.store_ticket(self.ticket))
        has_root = self.files.anchor() is not None
        name = self.params["cn"]
        if waits and has_root and self.params["wait_for"] == "asked":
            next_step = Problem(came.code, came.detail).next_step(name)
            said = f"'{name}' has no certificate yet ({came.code}: {came.detail})"
            self.module.warn(f"{said}. {next_step}")
            self.succeed(came.code)
        said = came.detail
        if self.asks > 1 and came.code not in FINAL:
            within = f"{self.asks} requests within {self.params['deadline']} s"
            said = f"No certificate for '{name}' after {within}: {came.detail}"
        raise Problem(came.code, said)

    def end_check(self) -> None:
        """Say what a run would do.

        Raises:
            Problem: It would fail.
        """
        files = self.files
        if self.is_enrolled() and not files.would_finish():
            dropped = files.holds_ticket(self.ticket)
            self.took(changed=dropped)
            self.succeed("signed" if dropped else "nothing-to-do")
        why = None
        if files.has_key() and not files.would_finish():
            why = files.why_unusable()
        if why is not None and not self.params["replace_unusable"]:
            raise Problem("identity-broken", why)
        self.trust()
        names = ", ".join(map(str, self.parents()))
        key = "kept" if files.has_key() and why is None else "a new one"
        with_what = "with the ticket" if self.ticket else "without a ticket"
        after = f"key: {key}\ncertificate: asked for at {names}, {with_what}\n"
        result = self.result()
        result.update(changed=True, diff={"before": self.before, "after": after})
        self.module.exit_json(code="not-enrolled", **result)

    def described(self) -> str:
        """Return what is there, for the diff."""
        certificate = self.files.present()
        key = "there" if self.files.has_key() else "none"
        if certificate is None:
            return f"key: {key}\ncertificate: none\n"
        kind = "self-signed" if certificate.is_self_signed else "signed"
        return f"key: {key}\ncertificate: {kind}, SHA-256 {certificate.fingerprint}\n"

    def state(self) -> str:
        """Return what the certificate that is there is."""
        certificate = self.files.present()
        if certificate is None:
            return "none"
        return "requested" if certificate.is_self_signed else "signed"

    def took(self, *, changed: bool) -> None:
        """Note whether something was changed."""
        self.changed = self.changed or changed

    def result(self) -> Dict[str, Any]:
        """Return what is told however it ends."""
        result = {
            "changed": self.changed,
            "state": self.state(),
            "asks": self.asks,
            "attempts": self.attempts,
            "certificate": files_state(self.files),
            "diff": {"before": self.before, "after": self.described()},
        }
        if self.files.backup is not None:
            result["backup"] = self.files.backup
        return result

    def succeed(self, code: str) -> None:
        """End the module well."""
        self.module.exit_json(code=code, **self.result())

    def fail(self, problem: Problem) -> None:
        """End the module with a reason and a next step."""
        next_step = problem.next_step(self.params["cn"])
        self.module.fail_json(
            msg=sentence(problem.code, problem.detail, next_step),
            code=problem.code,
            detail=problem.detail,
            next=next_step,
            **self.result(),
        )


def _worth(came: Came) -> int:
    return WORTH.index(came.code) + 1 if came.code in WORTH else 0


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as source:
        return source.read()


def _found_in(text: str) -> Optional[Certificate]:
    try:
        return read_certificate(text)
    except NotACertificate:
        return None


def _certificate(text: str) -> Certificate:
    """Read what a parent has sent.

    Raises:
        Problem: It is no certificate.
    """
    found = _found_in(text)
    if found is None:
        said = "what the parent sent is no certificate that can be read"
        raise Problem("invalid-certificate", said)
    return found


def _owner_of(directory: str) -> tuple:
    """Return the names of user and group that a directory belongs to; None for unknown."""
    user = group = None
    try:
        status = os.stat(directory)
        user = pwd.getpwuid(status.st_uid).pw_name
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        pass
    return user, group


if __name__ == "__main__":
    main()
