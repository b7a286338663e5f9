"""The texts of the catalogue of problems; docs/problems.md has the same ones.

The codes are stable: a code never changes its meaning and never goes away.  The words
beside it are for people and may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from icefloe.enrollment.problem import Code, Outlook, Problem
from icefloe.enrollment.reasons import Reason

__all__ = ["GROUPS"]

WELL: Final = (
    Problem(
        Code.SIGNED,
        "Signed",
        "This node has its certificate, and it has been verified.",
        "Nothing is to be done.",
        outlook=Outlook.WELL,
    ),
    Problem(
        Reason.NOTHING_TO_DO.value,
        "Nothing to do",
        "This node's certificate is signed, valid and not due for renewal, so the "
        "parent signed no other.",
        "Nothing is to be done. For a new key run 'icefloe node setup --rotate-key'.",
        "The command was run again on a node that is enrolled.",
        ("icefloe enrollment status",),
        Outlook.WELL,
    ),
)

WAITING: Final = (
    Problem(
        Code.PENDING,
        "Pending",
        "The parent keeps the request and has not said more. An Icinga 2 parent cannot "
        "pass a refusal on, so it says this for a wrong ticket, too.",
        "Approve it on the signer ('ca sign FINGERPRINT', by icefloe or icinga2), or "
        "leave the daemon running: it goes on asking. With a ticket: check it there.",
        "Without a ticket a person has to decide; with one, the signer is busy, or an "
        "Icinga 2 node stands on the way and the ticket is wrong.",
        ("icefloe enrollment status", "HOP$ icefloe enrollment explain CN"),
        Outlook.WAITS,
    ),
    Problem(
        Reason.AWAITING_APPROVAL.value,
        "Awaiting approval",
        "The signer keeps the request; a person has to approve it.",
        "Run 'icefloe ca sign FINGERPRINT' on HOP, or ask again with a ticket.",
        "No ticket was given.",
        ("HOP$ icefloe ca list", "HOP$ icefloe ca sign FINGERPRINT"),
    ),
    Problem(
        Reason.RESERVED_NAME.value,
        "Reserved name",
        "The name belongs to a master, a satellite or an API user that already has "
        "another key; a ticket is not enough for a new one.",
        "If the new key is meant, run 'icefloe ca sign --reserved FINGERPRINT' on HOP.",
        "Such a node was set up anew, or somebody asks for a name that is not theirs.",
        ("HOP$ icefloe ca sign --reserved FINGERPRINT",),
    ),
    Problem(
        Reason.OUTSIDE_SUBTREE.value,
        "Outside the subtree",
        "The request was forwarded by a node below whose zone this name does not lie.",
        "Ask a parent of the node's own zone, or run 'icefloe ca sign FINGERPRINT' on "
        "HOP if it is right so.",
        "The wrong parent was asked, or zones.conf of the signer has the node in "
        "another zone.",
        ("HOP$ icefloe ca sign FINGERPRINT",),
    ),
    Problem(
        Reason.REVOKED_KEY.value,
        "Revoked key",
        "The last certificate of this key was revoked; the key gets another one only "
        "if a person says so.",
        "Make a new key with 'icefloe node setup --rotate-key', or run 'icefloe ca "
        "sign --reserved FINGERPRINT' on HOP.",
        "The node was taken out of the cluster and comes back.",
        ("HOP$ icefloe ca sign --reserved FINGERPRINT",),
    ),
    Problem(
        Reason.TOO_MANY_CERTIFICATES.value,
        "Too many certificates",
        "The name has been given so many certificates lately that a person has to "
        "approve the next one.",
        "See why it enrolls so often, then run 'icefloe ca sign FINGERPRINT' on HOP.",
        "A script removes the node's key and sets it up in a circle, or two nodes "
        "have one name.",
        ("HOP$ icefloe enrollment explain CN", "HOP$ icefloe ca sign FINGERPRINT"),
    ),
    Problem(
        Reason.PARENT_PENDING.value,
        "Forwarded",
        "HOP keeps the request and has forwarded it; nobody above has decided yet.",
        "Leave the daemon running, or run the command again. To see where it stands, "
        "run 'icefloe enrollment explain CN' on HOP.",
        "The signer is busy, or a person has to approve the request there.",
        ("HOP$ icefloe enrollment explain CN",),
        Outlook.WAITS,
    ),
    Problem(
        Reason.PARENT_UNREACHABLE.value,
        "Kept, no way up",
        "HOP keeps the request and has no connection to a parent of its own; it "
        "forwards it as soon as there is one.",
        "Bring HOP and its parent together: its log says what is in the way. The "
        "request then goes on by itself.",
        "The signer is down, or a firewall stands between the satellite and it.",
        ("HOP$ icefloe enrollment status", "HOP$ icefloe enrollment explain CN"),
        Outlook.WAITS,
    ),
    Problem(
        Reason.NODE_STOPS.value,
        "The parent is being stopped",
        "HOP keeps the request and is being stopped; it goes on when HOP runs again.",
        "Run the command again in a moment; the daemon does so by itself.",
        "The parent was restarted or updated just now.",
        ("icefloe enrollment status",),
        Outlook.WAITS,
    ),
)

REFUSED: Final = (
    Problem(
        Reason.WRONG_TICKET.value,
        "Wrong ticket",
        "The ticket does not belong to this name at this signer.",
        "Get a ticket for exactly this name on HOP ('icefloe pki ticket --cn CN') and "
        "run the command again; the key stays.",
        "A typing error, another name (its case counts), or another TicketSalt.",
        ("HOP$ icefloe pki ticket --cn CN",),
    ),
    Problem(
        Reason.DECLINED.value,
        "Declined",
        "An administrator has declined the request, and that does not expire.",
        "Ask an administrator to restore the request on HOP ('icefloe ca restore "
        "FINGERPRINT'), then run the command again.",
        "Somebody ran 'ca remove' for it.",
        ("HOP$ icefloe ca list --removed", "HOP$ icefloe ca restore FINGERPRINT"),
    ),
    Problem(
        Reason.NO_CERTIFICATE.value,
        "No certificate shown",
        "The asker showed no certificate, which would be its request.",
        "Make a key and a certificate with 'icefloe pki new-cert' first.",
        "A tool that speaks TLS without a client certificate.",
        ("icefloe pki new-cert --cn CN --key CN.key --cert CN.crt",),
    ),
    Problem(
        Reason.BAD_CERTIFICATE.value,
        "Bad certificate",
        "What was shown as the request cannot be read, or its self-signature or key "
        "is not acceptable.",
        "Make a new key with 'icefloe node setup --rotate-key' (or 'icefloe pki "
        "new-cert'), then run the command again.",
        "A damaged file, or a key too weak for today.",
        ("icefloe pki verify --cert CN.crt",),
    ),
    Problem(
        Reason.BAD_NAME.value,
        "Bad name",
        "No node may have this common name.",
        "Choose another common name: at most 64 characters, as in the certificate, "
        "and not one of the signer's own.",
        "A name too long, empty, with forbidden characters, or not the one that the "
        "certificate bears.",
        ("icefloe node setup --cn NAME ...",),
    ),
    Problem(
        Reason.NO_POSSESSION.value,
        "No proof of the key",
        "The asker does not have the key of the certificate for which it asks.",
        "Run the command on the node that has the key.",
        "A signed certificate was posted for renewal by somebody who is not its owner.",
        ("icefloe pki request --key CN.key --cert CN.crt ...",),
    ),
    Problem(
        Reason.LIMIT.value,
        "Limit reached",
        "HOP has as much to do, or keeps as many requests, as it takes on at a time.",
        "Wait until the time that HOP told has passed, then run the command again; "
        "the daemon does so by itself.",
        "Very many nodes enroll at the same time, or somebody floods HOP.",
        ("HOP$ icefloe ca list", "HOP$ icefloe ledger status"),
        Outlook.WAITS,
    ),
    Problem(
        Reason.TOO_MANY_WRONG_TICKETS.value,
        "Too many wrong tickets",
        "So many wrong tickets came from here, or for this name, that HOP compares "
        "none for a while.",
        "Wait until the time that HOP told has passed, then ask with a right ticket "
        "('icefloe pki ticket --cn CN' on HOP).",
        "A script repeats a wrong ticket, here or behind the same address.",
        ("HOP$ icefloe pki ticket --cn CN",),
        Outlook.WAITS,
    ),
    Problem(
        Reason.SIGNER_FAULT.value,
        "The signer cannot sign",
        "HOP cannot sign at the moment. The fault is its own, not the request's.",
        "Look at the log of HOP; then run the command again.",
        "Its CA key cannot be read, or its CA certificate has expired.",
        ("HOP$ icefloe daemon -C",),
        Outlook.WAITS,
    ),
    Problem(
        Reason.LEDGER_FAULT.value,
        "The ledger cannot be written",
        "HOP cannot write its ledger, so it keeps no request.",
        "Look at the log and the disk of HOP; then run the command again.",
        "Its disk is full or read-only.",
        ("HOP$ icefloe ledger status", "HOP$ df -h /var/lib/icinga2"),
        Outlook.WAITS,
    ),
    Problem(
        Reason.REFUSED_BY_PARENT.value,
        "Refused",
        "The parent refused, in words of its own and without a code.",
        "Correct what the parent says and run the command again; the key stays. If it "
        "is an Icinga 2 node and a ticket was given, check the ticket on the signer.",
        "An Icinga 2 node tells its reason in words alone.",
        ("HOP$ icefloe pki ticket --cn CN",),
    ),
)

CONNECTION: Final = (
    Problem(
        Code.NAME_NOT_RESOLVED,
        "Name not resolved",
        "The parent's name has no address here.",
        "Check the spelling of HOST, and /etc/hosts or DNS ('getent hosts HOST'), or "
        "give the parent's address.",
        "A typing error, or a resolver that does not know the name or does not answer.",
        ("getent hosts HOST",),
    ),
    Problem(
        Code.UNREACHABLE,
        "Unreachable",
        "No address of the parent took a TCP connection.",
        "Check that a node listens at PARENT and that no firewall is between; then run "
        "the command again. A daemon goes on trying by itself.",
        "The daemon there does not run, the port is another one, or packets are "
        "dropped.",
        ("PARENT$ ss -ltn", "PARENT$ icefloe daemon -C"),
        Outlook.WAITS,
    ),
    Problem(
        Code.TLS_FAILED,
        "No TLS connection",
        "Somebody answers at PARENT, but no TLS connection came about.",
        "Check that an Icinga or Icefloe node listens at PARENT, and its log; what "
        "stands between (a proxy, a load balancer) must pass TLS through.",
        "Another service has the port, a proxy ends or resets TLS, or the two have "
        "no TLS version or cipher in common.",
        ("openssl s_client -connect PARENT",),
    ),
    Problem(
        Code.CUT_OFF,
        "Cut off",
        "The parent ended the connection, or stayed silent, before it answered. It "
        "may have the request, or not.",
        "Leave the daemon running, or run the command again: asking again is safe. If "
        "it stays so, look at the log of PARENT.",
        "Icinga 2.14.4 closes before its answer has left; or the parent was "
        "restarted, or the network dropped the connection.",
        ("icefloe enrollment status", "PARENT$ icefloe enrollment explain CN"),
        Outlook.WAITS,
    ),
    Problem(
        Code.TRUST_MISMATCH,
        "Not the trusted parent",
        "Who answers at PARENT is not the parent that this node trusts. Nothing was "
        "sent to it.",
        "Find out which of the two is right. If the parent's certificate was renewed, "
        "fetch it anew with 'icefloe pki save-cert' and compare its fingerprint on "
        "the parent; if not, somebody may be between you and it.",
        "The parent's certificate was renewed, its CA replaced, the address belongs "
        "to another node - or somebody stands in between.",
        (
            "PARENT$ icefloe pki verify --cert /var/lib/icinga2/certs/NAME.crt",
            "icefloe pki save-cert --host HOST --trustedcert trusted-parent.crt",
        ),
    ),
    Problem(
        Code.TRUST_MISSING,
        "Nobody to trust",
        "There is no usable certificate here, of a CA or of a parent, that says whom to "
        "trust. Nothing was sent.",
        "Fetch the parent's certificate with 'icefloe pki save-cert', check its "
        "fingerprint on the parent and give it as --trustedcert.",
        "The first command on a new node was run without --trustedcert, or with the "
        "certificate of a CA.",
        ("icefloe pki save-cert --host HOST --trustedcert trusted-parent.crt",),
    ),
    Problem(
        Code.INVALID_CERTIFICATE,
        "Invalid certificate received",
        "The certificate or CA that the parent sent does not verify. It was not "
        "installed; the files here are as they were.",
        "Look at the CA of the signer behind PARENT: its ca.crt and its key must "
        "belong together, and be the CA of this node.",
        "The signer's CA was replaced, or two signers have different CAs.",
        ("PARENT$ icefloe pki verify --cacert /var/lib/icinga2/certs/ca.crt",),
    ),
    Problem(
        Code.INVALID_ANSWER,
        "An answer that cannot be used",
        "What the parent sent is no answer to the request.",
        "Check that an Icinga or Icefloe node listens at PARENT, and its log.",
        "Another program has the port, or the parent could not handle the request.",
        ("openssl s_client -connect PARENT",),
    ),
    Problem(
        Code.CLOCK_WRONG,
        "A clock is wrong",
        "By this node's clock a certificate is not valid yet, or not any more, and "
        "that is all that speaks against it.",
        "Compare 'date' here and on PARENT and set the wrong clock. If both are "
        "right, the certificate has ended and must be renewed there.",
        "A machine without a battery, a restored snapshot, no time synchronisation.",
        ("date --utc", "PARENT$ date --utc"),
    ),
)

MACHINE: Final = (
    Problem(
        Code.FILE_RIGHTS,
        "No right to the file",
        "The operating system does not let this user read or write a file.",
        "Run the command as root or as the daemon's user, or correct owner and mode "
        "of the file that is named.",
        "The command was run by another user, or files were copied as root.",
        ("ls -l /var/lib/icinga2/certs",),
    ),
    Problem(
        Code.DISK_FULL,
        "Disk full",
        "There is no room for a file. What was there before is unchanged.",
        "Free some space (or quota) and run the command again.",
        "Logs or something else have filled the file system.",
        ("df -h /var/lib/icinga2",),
    ),
    Problem(
        Code.FILE_TROUBLE,
        "A file cannot be used",
        "The operating system, or what is there, does not let a file be read or "
        "written.",
        "Correct what is said about the file that is named, then run the command "
        "again.",
        "A missing directory, a read-only file system, a directory or link in a "
        "file's place.",
        ("ls -l /var/lib/icinga2",),
    ),
    Problem(
        Code.IDENTITY_BROKEN,
        "The identity cannot be used",
        "Key, certificate and CA certificate of this node cannot be read, or do not "
        "belong together.",
        "Put an identity back that worked ('icefloe node backups', 'icefloe node "
        "restore'), or make a new one with 'icefloe node setup --rotate-key'.",
        "Files were copied by halves, or from another node.",
        (
            "icefloe pki verify --cert /var/lib/icinga2/certs/CN.crt",
            "icefloe node backups",
        ),
    ),
    Problem(
        Code.CONFIGURATION_INVALID,
        "The configuration cannot be used",
        "The configuration of this node, or what was asked for, is wrong or not "
        "complete.",
        "Correct the option, variable, file or line that is named; the command's --help "
        "shows what each takes, 'icefloe daemon -C' checks what is written.",
        "A typing error, a missing NodeName, zone or endpoint, options that "
        "contradict each other.",
        ("icefloe daemon -C",),
    ),
    Problem(
        Code.PORT_IN_USE,
        "The port cannot be listened on",
        "The daemon would not start: the address and the port are not free, or not "
        "this machine's.",
        "Stop what listens there, or give another address or port (--listen).",
        "Another daemon listens on the same port: icinga2, most of the time.",
        ("ss -ltnp",),
    ),
    Problem(
        Code.TICKET_UNREADABLE,
        "The ticket cannot be read",
        "The ticket cannot be taken from where it was said to be.",
        "Correct --ticket-file, or give the ticket in ICEFLOE_TICKET.",
        "The file is empty, missing, or not a ticket's.",
        ("icefloe pki ticket --cn CN",),
    ),
    Problem(
        Code.INTERRUPTED,
        "Interrupted",
        "Somebody stopped the command. What had been done by then is whole.",
        "Run the command again: it goes on with the same key.",
        "Ctrl-C.",
        ("icefloe enrollment status",),
    ),
    Problem(
        Code.OTHER_TROUBLE,
        "Other trouble",
        "The command failed in a way that has no code of its own.",
        "Do what is said; run the command again.",
        "Trouble that is rare, such as a user of the daemon that does not exist.",
        ("icefloe enrollment status",),
    ),
)

DAEMON: Final = (
    Problem(
        Code.NOT_ENROLLED,
        "No certificate yet",
        "This node has no certificate of its cluster, and no answer from a parent yet.",
        "Start the daemon, or run 'icefloe node setup' if this node was never set up.",
        "The node is new, or its set-up was not finished.",
        ("icefloe node setup --help", "icefloe daemon"),
    ),
    Problem(
        Code.DAEMON_NOT_RUNNING,
        "The daemon does not run",
        "No daemon runs on this node, so nobody goes on asking, renews or connects.",
        "Start its service, or 'icefloe daemon'.",
        "It was stopped, has not been started since the set-up, or ended by a fault.",
        ("icefloe daemon -C", "icefloe daemon"),
    ),
    Problem(
        Code.STATUS_UNKNOWN,
        "Cannot tell",
        "The daemon has said nothing about itself that can be read.",
        "Run the command as root or as the daemon's user; look at the daemon's log.",
        "The daemon is of an older release, or its file cannot be read.",
        ("icefloe enrollment status",),
    ),
    Problem(
        Code.UNCONFIRMED,
        "Not confirmed yet",
        "A new certificate is in place and no parent has taken it yet. If one refuses "
        "it, the older one comes back.",
        "Nothing is to be done for a minute; the daemon confirms it by connecting.",
        "The certificate was installed just now, or no parent can be reached.",
        ("icefloe enrollment status",),
        Outlook.WAITS,
    ),
    Problem(
        Code.ROLLED_BACK,
        "Rolled back",
        "The parent refused the new certificate, so the one that worked is back in "
        "place. This node works, with the old one.",
        "See why the parent refused it (its log); the node asks for another one by "
        "itself when it is due.",
        "Two signers with different CAs, or a certificate for a name that the parent "
        "does not know.",
        ("icefloe enrollment status", "PARENT$ icefloe enrollment explain CN"),
    ),
    Problem(
        Code.CERTIFICATE_REFUSED,
        "The parent does not take the certificate",
        "A parent was reached and does not treat this node as a member with the "
        "certificate that it has.",
        "See the log of PARENT: it says why. If the certificate was revoked, set the "
        "node up anew; if zones.conf there lacks it, add it there.",
        "Revoked, of another CA, or a name that the parent has no Endpoint for.",
        ("PARENT$ icefloe daemon -C", "icefloe pki verify --cert CN.crt"),
    ),
    Problem(
        Code.RENEWAL_FAILING,
        "Renewal fails",
        "The certificate is due for renewal and could not be renewed. The node works "
        "until it ends.",
        "See why with 'icefloe enrollment status', and on the parent with 'icefloe "
        "enrollment explain CN', before the certificate ends.",
        "The signer cannot be reached or cannot sign.",
        ("icefloe enrollment status", "PARENT$ icefloe enrollment explain CN"),
    ),
    Problem(
        Code.CERTIFICATE_EXPIRED,
        "The certificate has ended",
        "This node's certificate has ended, so no parent takes it for a member.",
        "Get a new one: 'icefloe node setup' with a ticket, or 'icefloe ca sign "
        "FINGERPRINT' on the signer. The key stays.",
        "The node was off, or could not renew, for too long.",
        ("HOP$ icefloe pki ticket --cn CN", "icefloe node setup --ticket ..."),
    ),
)

GROUPS: Final[Mapping[str, tuple[Problem, ...]]] = MappingProxyType(
    {
        "All is well": WELL,
        "It waits": WAITING,
        "It was refused": REFUSED,
        "Between this node and its parent": CONNECTION,
        "On this machine": MACHINE,
        "Told by the daemon": DAEMON,
    }
)
"""All problems, by the headings of the document."""
