"""What `api setup` writes: less than `node setup`, for who keeps his own zones.

protocol: NodeName and ZoneName become the common name, the feature `api` is enabled and
an API user is made if there is none; `zones.conf`, an `api.conf` that is there, and the
ticket salt stay as they are.
"""

from __future__ import annotations

from icefloe.config import edits
from icefloe.config.errors import PlanError
from icefloe.config.features import feature_link
from icefloe.config.layout import NodeDirectories
from icefloe.config.plan import OPEN_MODE, SECRET_MODE, Plan, PlannedFile
from icefloe.config.predefined import NODE_NAME, ZONE_NAME
from icefloe.config.setup import (
    ApiUserSetup,
    CurrentFiles,
    NodeSetup,
    api_text,
    api_users_text,
)
from icefloe.pki.canaries import check_node_name
from icefloe.pki.errors import CommonNameInvalid


def plan_api_setup(
    node_name: str,
    *,
    api_user: ApiUserSetup,
    current: CurrentFiles,
    directories: NodeDirectories,
    note: str,
) -> Plan:
    """Plan the configuration that `api setup` writes.

    Args:
        node_name: What NodeName and ZoneName become.
        api_user: The user to write if `api-users.conf` does not exist.
        current: What is there now.
        directories: Where the files go.
        note: Who does this and when; becomes comments in the files.

    Raises:
        PlanError: The name cannot be used.
        ConfigError: A file to be edited cannot be understood.
    """
    try:
        check_node_name(node_name)
    except CommonNameInvalid as error:
        raise PlanError(str(error)) from None
    constants = current.constants_conf or ""
    for name in (NODE_NAME, ZONE_NAME):
        constants = edits.set_constant(
            constants, name, node_name, file=str(directories.constants_conf)
        )
    files = [
        PlannedFile(path=directories.constants_conf, text=constants, mode=SECRET_MODE)
    ]
    if "api" not in current.features.available:
        text = api_text(NodeSetup(node_name=node_name, zone_name=node_name), note=note)
        path = directories.feature_available("api")
        files.append(PlannedFile(path=path, text=text, mode=OPEN_MODE))
    if not current.has_api_users:
        text = api_users_text(api_user, note=note)
        path = directories.api_users_conf
        files.append(PlannedFile(path=path, text=text, mode=SECRET_MODE))
    links = (
        [] if "api" in current.features.enabled else [feature_link("api", directories)]
    )
    return Plan(files=tuple(files), links=tuple(links))
