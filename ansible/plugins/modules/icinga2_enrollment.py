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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.icefloe.icefloe.plugins.module_utils.enrollment import Agent
from ansible_collections.icefloe.icefloe.plugins.module_utils.identity_files import (
    IdentityFiles,
)
from ansible_collections.icefloe.icefloe.plugins.module_utils.parent import DEFAULT_PORT
from ansible_collections.icefloe.icefloe.plugins.module_utils.problems import (
    Problem,
    sentence,
)


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


if __name__ == "__main__":
    main()
