#!/usr/bin/python
"""Ansible module: a node of Icefloe, set up and enrolled as asked."""

DOCUMENTATION = r"""
---
module: icefloe_node
short_description: Set an Icefloe node up and enroll it
version_added: "0.1.0"
author: The Icefloe developers (@icefloe)
description:
  - Makes an agent, a satellite or a master of this host, with C(icefloe node setup).
    Key and certificate are made once and kept; a node that is as asked is not touched,
    and nobody is asked for anything.
  - Waits inside the module until the certificate is there, over cut connections, parents
    that are not up yet and requests that are pending, for at most O(deadline) seconds.
    It needs no C(until).
  - What exists is backed up before it is changed; RV(backup) names the backup.
  - The ticket goes to the program through its standard input. It stands in no argument
    list, log, diff or result.
options:
  role:
    description: What the node is to become.
    type: str
    choices: [agent, satellite, master]
    default: agent
  cn:
    description: The node's name; its certificate bears it.
    type: str
    required: true
  zone:
    description:
      - Its own zone. An agent's bears its name, a master's is called C(master); a
        satellite's has to be given.
    type: str
  parent_zone:
    description: The zone above; V(master) when it is not given.
    type: str
  parents:
    description: The nodes of the zone above. A master has none.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The parent's common name.
        type: str
        required: true
      host:
        description: Its name in the DNS or its address.
        type: str
      port:
        description: Its port.
        type: int
        default: 5665
      connect:
        description: Whether this node opens the connection; otherwise the parent does.
        type: bool
        default: true
      ask:
        description: Whether it is asked for the certificate.
        type: bool
        default: true
  ticket:
    description:
      - The ticket for O(cn), from the signer. Without one somebody has to approve the
        request there.
    type: str
  ca_certificate:
    description:
      - The CA's certificate, as PEM text or as a path on the host. A parent is trusted
        when it shows a certificate of this CA with its own name.
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
  listen_host:
    description: The address to listen on; all of them when it is not given.
    type: str
  listen_port:
    description: The port to listen on; 5665 when it is not given.
    type: int
  accept_config:
    description: Whether the node takes configuration from its parents.
    type: bool
    default: false
  accept_commands:
    description: Whether it runs commands from its parents.
    type: bool
    default: false
  global_zones:
    description: Global zones besides the default ones.
    type: list
    elements: str
    default: []
  default_global_zones:
    description: Whether C(global-templates) and C(director-global) are configured.
    type: bool
    default: true
  disable_confd:
    description: Whether C(conf.d) is no longer included.
    type: bool
    default: false
  icefloe_endpoints:
    description: Endpoints that are declared to be Icefloe nodes.
    type: list
    elements: str
    default: []
  key_type:
    description: The type of a key that is made.
    type: str
    choices: [ec, rsa]
    default: ec
  wait_for:
    description:
      - V(signed) fails when the certificate is not there in time.
      - V(asked) is content with a request that is pending; the daemon goes on asking.
    type: str
    choices: [signed, asked]
    default: signed
  deadline:
    description: How many seconds the whole may take.
    type: int
    default: 300
  rotate_key:
    description:
      - Get a certificate for a new key. Each run does so again; give it for one run.
    type: bool
    default: false
  verify:
    description: Ask the parents also when there is nothing to be changed.
    type: bool
    default: false
  executable:
    description: The program, by name or path.
    type: str
    default: icefloe
  config_dir:
    description: The node's ConfigDir; the program's default is C(/etc/icinga2).
    type: path
  data_dir:
    description: The node's DataDir; the program's default is C(/var/lib/icinga2).
    type: path
  user:
    description: Whom the files belong to; by default the owner of O(data_dir).
    type: str
  group:
    description: The group of the files.
    type: str
attributes:
  check_mode:
    description: Changes nothing, and says what would be changed.
    support: full
  diff_mode:
    description: Shows every change of the configuration, without secrets.
    support: full
notes:
  - In check mode the parents are looked at, and nobody is asked for a certificate. A
    certificate that is not there yet counts as a change, since a run would ask for it.
seealso:
  - module: icefloe.icefloe.icefloe_ticket
"""

EXAMPLES = r"""
- name: An agent below a satellite
  icefloe.icefloe.icefloe_node:
    cn: web1.example.org
    parent_zone: dmz
    parents:
      - name: sat1.example.org
        host: 10.20.0.2
    ca_certificate: "{{ lookup('ansible.builtin.file', 'ca.crt') }}"
    ticket: "{{ vaulted_ticket }}"

- name: A satellite; the master connects to it, so nobody can be asked
  icefloe.icefloe.icefloe_node:
    role: satellite
    cn: sat1.example.org
    zone: dmz
    parents:
      - name: master1.example.org
    ca_certificate: /root/ca.crt
    wait_for: asked

- name: A master with a CA
  icefloe.icefloe.icefloe_node:
    role: master
    cn: master1.example.org
"""

RETURN = r"""
code:
  description: How it ended, one of C(icefloe enrollment problems).
  returned: always
  type: str
  sample: signed
state:
  description: The state of the node's identity, as C(icefloe node setup --json) has it.
  returned: always
  type: str
  sample: healthy
hop:
  description: The node that the problem is about.
  returned: when there is one
  type: str
next:
  description: What to do.
  returned: when there is something to do
  type: str
detail:
  description: What was said, or what failed.
  returned: when known
  type: str
identity:
  description: What became of the key and the certificate, C(kept), C(asked), C(made) or
    C(rotated).
  returned: when known
  type: str
certificate:
  description: Name, issuer, fingerprint, key, serial number and dates.
  returned: when there is one
  type: dict
files:
  description: The configuration files that were made or changed.
  returned: always
  type: list
backup:
  description: The name of the backup; C(icefloe node restore) takes it.
  returned: when there was something to back up
  type: str
"""

import time
from typing import Any, Dict, List, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.icefloe.icefloe.plugins.module_utils.answers import (
    answers_of,
    toml_of,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.certificate import to_pem
from ansible_collections.icefloe.icefloe.plugins.module_utils.parent import (
    DEFAULT_PORT,
    Parent,
    pem_of,
    read_trust,
    trusted_certificate,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.problems import (
    NEXT_STEPS,
    PASSES_BY_ITSELF,
    Problem,
    sentence,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.program import (
    find_program,
    json_of,
    run_program,
)

ENROLLED = frozenset({"healthy", "unconfirmed", "signer"})
"""States of an identity that has its certificate."""

PAUSE_SECONDS = 5.0
"""Between two runs of the program, which itself waits and asks again; a run that ended
early did so for a reason that needs a moment."""

GOES_DOWN_WITH = 10.0
"""Seconds that a run needs beside its waiting, and is left of the deadline."""

ARGUMENTS = {
    "role": {
        "type": "str",
        "choices": ["agent", "satellite", "master"],
        "default": "agent",
    },
    "cn": {"type": "str", "required": True},
    "zone": {"type": "str"},
    "parent_zone": {"type": "str"},
    "parents": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "host": {"type": "str"},
            "port": {"type": "int", "default": DEFAULT_PORT},
            "connect": {"type": "bool", "default": True},
            "ask": {"type": "bool", "default": True},
        },
    },
    "ticket": {"type": "str", "no_log": True},
    "ca_certificate": {"type": "str"},
    "trusted_certificates": {"type": "list", "elements": "str", "default": []},
    "parent_fingerprints": {"type": "list", "elements": "str", "default": []},
    "listen_host": {"type": "str"},
    "listen_port": {"type": "int"},
    "accept_config": {"type": "bool", "default": False},
    "accept_commands": {"type": "bool", "default": False},
    "global_zones": {"type": "list", "elements": "str", "default": []},
    "default_global_zones": {"type": "bool", "default": True},
    "disable_confd": {"type": "bool", "default": False},
    "icefloe_endpoints": {"type": "list", "elements": "str", "default": []},
    "key_type": {
        "type": "str",
        "choices": ["ec", "rsa"],
        "default": "ec",
        "no_log": False,
    },
    "wait_for": {"type": "str", "choices": ["signed", "asked"], "default": "signed"},
    "deadline": {"type": "int", "default": 300},
    "rotate_key": {"type": "bool", "default": False, "no_log": False},
    "verify": {"type": "bool", "default": False},
    "executable": {"type": "str", "default": "icefloe"},
    "config_dir": {"type": "path"},
    "data_dir": {"type": "path"},
    "user": {"type": "str"},
    "group": {"type": "str"},
}


def main() -> None:
    """Set the node up."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        Node(module).bring_about()
    except Problem as problem:
        next_step = problem.next_step(module.params["cn"])
        module.fail_json(
            msg=sentence(problem.code, problem.detail, next_step),
            code=problem.code,
            state=None,
            next=next_step,
            detail=problem.detail,
            files=[],
        )


class Node:
    """One node, and how it is brought to what is asked."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.params = module.params
        self.end = time.monotonic() + self.params["deadline"]
        self.program = find_program(module, self.params["executable"])

    def bring_about(self) -> None:
        """Do it, and end the module."""
        module = self.module
        if self.program is None:
            self.end_without_program()
        diff: Optional[Dict[str, str]] = None
        if module.check_mode or module._diff:
            code, facts = self.run("--dry-run")
            diff = {"prepared": self.prepared(facts)}
            if module.check_mode:
                self.end_check(code, facts, diff)
        self.finish(self.run_until_signed(), diff)

    # Running the program

    def run(self, *words: str, wait: int = 0) -> Tuple[int, Dict[str, Any]]:
        """Run `node setup` once; return its exit code and what it says of itself.

        Raises:
            Problem: It did not answer as it should, or nothing says whom to trust.
        """
        answers = answers_of(self.params, wait)
        answers.update(self.trust())
        command = [str(self.program)]
        for option in ("config_dir", "data_dir"):
            if self.params[option]:
                command += ["--" + option.replace("_", "-"), self.params[option]]
        command += ["node", "setup", "--file", "-", "--json"]
        for option in ("rotate_key", "verify"):
            if self.params[option]:
                command.append("--" + option.replace("_", "-"))
        ran = run_program(
            self.module,
            [*command, *words],
            stdin=toml_of(answers),
            user=self.params["user"],
            group=self.params["group"],
        )
        facts = json_of(ran)
        if facts is None:
            said = f"'{self.program}' ended with {ran.code}: {ran.said}"
            raise Problem("other-trouble", said)
        return ran.code, facts

    def run_until_signed(self) -> Dict[str, Any]:
        """Run it, and again for what passes by itself, until the deadline."""
        changed, backup = False, None
        while True:
            code, facts = self.run(wait=self.wait())
            changed = changed or bool(facts.get("changed"))
            backup = backup or facts.get("backup")
            facts.update(changed=changed, backup=backup)
            pause = max(PAUSE_SECONDS, float(facts.get("retry_after") or 0.0))
            time_is_up = self.end - time.monotonic() < pause + 1.0
            if time_is_up or code == 0 or facts.get("code") not in PASSES_BY_ITSELF:
                return facts
            time.sleep(pause)

    def wait(self) -> int:
        """Return how many seconds the program is to wait for the certificate."""
        if self.params["wait_for"] == "asked" and not self.params["ticket"]:
            return 0  # a person decides, who is not waited for
        return max(0, int(self.end - time.monotonic() - GOES_DOWN_WITH))

    def trust(self) -> Dict[str, Any]:
        """Return the answers that say whom to trust.

        Raises:
            Problem: A file cannot be read, or no parent shows a given fingerprint.
        """
        params = self.params
        answers: Dict[str, Any] = {}
        if params["role"] == "master":
            return answers
        if params["ca_certificate"]:
            answers["cacert"] = pem_of(params["ca_certificate"], "ca_certificate")
        pins = [
            pem_of(each, "trusted_certificates")
            for each in params["trusted_certificates"]
        ]
        if params["parent_fingerprints"]:
            pins += self.pins_by_fingerprint()
        if pins:
            answers["trustedcert"] = pins
        return answers

    def pins_by_fingerprint(self) -> List[str]:
        """Fetch the certificates of the parents that show one of the fingerprints."""
        trust = read_trust(None, self.params["parent_fingerprints"], [])
        found: List[str] = []
        mismatch: Optional[Problem] = None
        for each in self.params["parents"]:
            if not each["host"]:
                continue
            try:
                parent = Parent(each["name"], each["host"], each["port"])
                found.append(to_pem(trusted_certificate(parent, trust).der))
            except Problem as problem:
                mismatch = problem if problem.code == "trust-mismatch" else mismatch
        if not found and mismatch is not None:
            raise mismatch
        return found

    # Ending

    def prepared(self, facts: Dict[str, Any]) -> str:
        """Return the diff of a dry run; what becomes of the identity is part of it."""
        text = str(facts.get("diff") or "")
        if facts.get("changed") and facts.get("identity") != "kept":
            text += f"identity: {facts.get('detail')}\n"
        return text

    def end_without_program(self) -> None:
        """End where the program is not installed; it may be, after a check."""
        detail = f"there is no '{self.params['executable']}' on this host"
        next_step = "Install Icefloe, or say in 'executable' where it is."
        told = {"state": None, "files": [], "detail": detail}
        if self.module.check_mode:
            self.module.warn(detail + ": what its set-up would change cannot be shown")
            self.module.exit_json(changed=True, code="not-enrolled", **told)
        self.module.fail_json(
            msg=sentence("file-trouble", detail, next_step),
            code="file-trouble",
            next=next_step,
            **told,
        )

    def end_check(self, code: int, facts: Dict[str, Any], diff: Dict[str, str]) -> None:
        """End a run that only looks."""
        for check in facts.get("checks") or []:
            if check["ok"] is not False or not facts.get("changed"):
                continue
            said = f"{check['name']}: {check['detail']}"
            if check["code"] not in PASSES_BY_ITSELF:
                told = {"code": check["code"], "detail": said, "next": check["fix"]}
                self.fail(dict(facts, **told), diff)
            self.module.warn(f"as it is now, this would fail: {said}. {check['fix']}")
        if code != 0 and not facts.get("checks"):
            self.fail(facts, diff)
        self.succeed(facts, diff)

    def finish(self, facts: Dict[str, Any], diff: Optional[Dict[str, str]]) -> None:
        """End a run that did something, or found nothing to do."""
        if not facts.get("ok"):
            self.fail(facts, diff)
        if facts.get("state") in ENROLLED:
            self.succeed(facts, diff)
        name, asked = self.params["cn"], facts.get("outcome") is not None
        if self.params["wait_for"] == "asked":
            said = f"'{name}' has no certificate yet ({facts.get('code')})"
            self.module.warn(f"{said}. {self.next_step(facts)}")
            self.succeed(facts, diff)
        if asked:
            within = self.params["deadline"]
            said = f"No certificate for '{name}' within {within} s"
            facts["detail"] = f"{said}: {facts.get('detail')}"
        else:
            facts["detail"] = (
                "Nobody was asked for the certificate: no parent has a host"
            )
            facts["next"] = (
                "Give a parent's 'host', or take 'wait_for: asked' when the parent "
                "connects to this node."
            )
        self.fail(facts, diff)

    def next_step(self, facts: Dict[str, Any]) -> str:
        """Return what to do, as the program says, or as its code means."""
        told = facts.get("next")
        if told:
            return str(told)
        return NEXT_STEPS.get(str(facts.get("code")), "").format(cn=self.params["cn"])

    def result(
        self, facts: Dict[str, Any], diff: Optional[Dict[str, str]]
    ) -> Dict[str, Any]:
        """Return what is told however it ends."""
        wanted = ("code", "hop", "next", "detail", "identity", "certificate")
        result = {key: facts[key] for key in wanted if facts.get(key) is not None}
        result["state"] = facts.get("state")
        result["files"] = facts.get("files") or []
        result["changed"] = bool(facts.get("changed"))
        if facts.get("backup"):
            result["backup"] = facts["backup"]
        if diff is not None:
            result["diff"] = diff
        return result

    def succeed(self, facts: Dict[str, Any], diff: Optional[Dict[str, str]]) -> None:
        """End the module well."""
        self.module.exit_json(**self.result(facts, diff))

    def fail(self, facts: Dict[str, Any], diff: Optional[Dict[str, str]]) -> None:
        """End the module with a reason and a next step."""
        result = dict(self.result(facts, diff), next=self.next_step(facts))
        code = str(facts.get("code") or "other-trouble")
        detail = str(facts.get("detail") or "")
        text = sentence(code, detail, result["next"], facts.get("hop"))
        self.module.fail_json(msg=text, **result)


if __name__ == "__main__":
    main()
