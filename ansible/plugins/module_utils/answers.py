"""The answers of `icefloe node setup`, as the TOML that it reads from standard input."""

import json
from typing import Any, Dict

DEFAULT_LISTEN_HOST = "::"


def answers_of(params: Dict[str, Any], wait: int) -> Dict[str, Any]:
    """Return the answers that a module's options come to, without those about trust.

    Args:
        params: The options of `icefloe_node`.
        wait: Seconds that the program may wait for the certificate.
    """
    is_master = params["role"] == "master"
    answers: Dict[str, Any] = {
        "cn": params["cn"],
        "master": is_master,
        "zone": params["zone"] or _usual_zone(params),
        "accept_config": params["accept_config"],
        "accept_commands": params["accept_commands"],
        "no_default_global_zones": not params["default_global_zones"],
        "disable_confd": params["disable_confd"],
        "key_type": params["key_type"],
    }
    if params["global_zones"]:
        answers["global_zones"] = params["global_zones"]
    if params["icefloe_endpoints"]:
        answers["icefloe_endpoint"] = params["icefloe_endpoints"]
    if params["listen_host"] or params["listen_port"]:
        listen = {"host": params["listen_host"] or DEFAULT_LISTEN_HOST}
        if params["listen_port"]:
            listen["port"] = params["listen_port"]
        answers["listen"] = listen
    if is_master:
        return answers
    if params["parent_zone"]:
        answers["parent_zone"] = params["parent_zone"]
    answers["wait"] = wait
    answers["endpoint"] = [_endpoint(each) for each in params["parents"]]
    asked = [each for each in params["parents"] if each["host"] and each["ask"]]
    if asked:
        answers["parent_host"] = [
            {"host": each["host"], "port": each["port"]} for each in asked
        ]
    if params["ticket"]:
        answers["ticket"] = params["ticket"]
    return answers


def toml_of(answers: Dict[str, Any]) -> str:
    """Write answers as TOML: strings, numbers, truths, and lists and tables of those."""
    return "".join(f"{key} = {_value(answer)}\n" for key, answer in answers.items())


def _usual_zone(params: Dict[str, Any]) -> str:
    """Return the usual name of a node's own zone; a satellite's has none."""
    usual = {"agent": params["cn"], "master": "master"}
    return str(usual.get(params["role"], ""))


def _endpoint(parent: Dict[str, Any]) -> Dict[str, Any]:
    if not parent["host"] or not parent["connect"]:
        return {"name": parent["name"]}
    return {key: parent[key] for key in ("name", "host", "port")}


def _value(answer: Any) -> str:
    if isinstance(answer, dict):
        inner = (f"{key} = {_value(each)}" for key, each in answer.items())
        return "{ " + ", ".join(inner) + " }"
    if isinstance(answer, list):
        return "[" + ", ".join(map(_value, answer)) + "]"
    if isinstance(answer, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(answer, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(answer)
