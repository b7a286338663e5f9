"""A plain icinga2 and how it comes to its certificate: asked for until it is there."""

import grp
import os
import pwd
import random
import time
from typing import Any, Dict, List, Optional

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
