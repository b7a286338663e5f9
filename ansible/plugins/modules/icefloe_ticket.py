#!/usr/bin/python
"""Ansible module: what a new node needs from its signer."""

DOCUMENTATION = r"""
---
module: icefloe_ticket
short_description: Get the ticket and the CA certificate for a new node
version_added: "0.1.0"
author: The Icefloe developers (@icefloe)
description:
  - Runs on the signer, by C(delegate_to), and gives what another host needs to enroll
    there. It works on an Icefloe master and on one of Icinga (O(executable=icinga2)).
  - The result holds the ticket. Give the task C(no_log=true); the role of this
    collection does, and tells of trouble in a task of its own.
options:
  cn:
    description: The name of the node that is to be enrolled.
    type: str
    required: true
  with_ca:
    description: Whether the CA's certificate is read, too.
    type: bool
    default: true
  executable:
    description: The program, by name or path; V(icinga2) on a master of Icinga.
    type: str
    default: icefloe
  config_dir:
    description: The signer's ConfigDir; only for Icefloe.
    type: path
  data_dir:
    description: The signer's DataDir, where C(ca/ca.crt) is.
    type: path
    default: /var/lib/icinga2
attributes:
  check_mode:
    description: It changes nothing, so it does the same.
    support: full
"""

EXAMPLES = r"""
- name: A ticket for this host
  icefloe.icefloe.icefloe_ticket:
    cn: "{{ inventory_hostname }}"
  delegate_to: master1.example.org
  register: from_signer
  no_log: true
"""

RETURN = r"""
ticket:
  description: The ticket. A secret.
  returned: success
  type: str
ca_certificate:
  description: The CA's certificate (PEM); empty when it was not asked for.
  returned: success
  type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.icefloe.icefloe.plugins.module_utils.parent import PEM_BEGIN
from ansible_collections.icefloe.icefloe.plugins.module_utils.problems import sentence
from ansible_collections.icefloe.icefloe.plugins.module_utils.program import (
    find_program,
    run_program,
)

HELP = (
    "Take the ticket and the CA's certificate from the node that has the CA key and "
    "TicketSalt; set it up first ('node setup --master')."
)


def main() -> None:
    """Print what the signer gives."""
    module = AnsibleModule(
        argument_spec={
            "cn": {"type": "str", "required": True},
            "with_ca": {"type": "bool", "default": True},
            "executable": {"type": "str", "default": "icefloe"},
            "config_dir": {"type": "path"},
            "data_dir": {"type": "path", "default": "/var/lib/icinga2"},
        },
        supports_check_mode=True,
    )
    module.exit_json(
        changed=False,
        ca_certificate=ca_certificate(module) if module.params["with_ca"] else "",
        ticket=ticket(module),
    )


def ticket(module: AnsibleModule) -> str:
    """Have the signer make the ticket."""
    params = module.params
    program = find_program(module, params["executable"])
    if program is None:
        fail(module, f"there is no '{params['executable']}' here")
        return ""
    words = [program, "pki", "ticket", "--cn", params["cn"]]
    if params["config_dir"]:
        words[1:1] = ["--config-dir", params["config_dir"]]
        words[1:1] = ["--data-dir", params["data_dir"]]
    ran = run_program(module, words)
    if ran.code != 0:
        fail(module, f"no ticket for '{params['cn']}': {ran.said}")
    # icinga2 writes warnings before it; what stands there is not told, for it may be
    # the ticket.
    made = ran.out.strip().rpartition("\n")[2].strip()
    if len(made.split()) != 1:
        fail(module, f"no ticket for '{params['cn']}': the last line printed is none")
    return made


def ca_certificate(module: AnsibleModule) -> str:
    """Read the CA's certificate, which is public."""
    path = os.path.join(module.params["data_dir"], "ca", "ca.crt")
    text = ""
    try:
        with open(path, encoding="ascii", errors="replace") as source:
            text = source.read()
    except OSError as error:
        fail(module, f"'{path}' cannot be read: {error.strerror}")
    if PEM_BEGIN not in text:
        fail(module, f"'{path}' holds no certificate")
    return text


def fail(module: AnsibleModule, detail: str) -> None:
    """End the module with a reason and a next step."""
    code = "ticket-unreadable"
    text = sentence(code, detail, HELP)
    module.fail_json(msg=text, code=code, detail=detail, next=HELP)


if __name__ == "__main__":
    main()
