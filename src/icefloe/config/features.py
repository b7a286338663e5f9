"""Features: files in `features-available` and links to them in `features-enabled`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from icefloe.config.errors import ConfigError, FeatureUnknown
from icefloe.config.layout import NodeDirectories
from icefloe.config.plan import Plan, PlannedLink
from icefloe.config.sources import SourceUnreadable, list_directory

_ENDING = ".conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Which features a node has.

    Attributes:
        available: Names with a file in `features-available`.
        enabled: Names with a link or file in `features-enabled`.
    """

    available: frozenset[str]
    enabled: frozenset[str]

    @property
    def disabled(self) -> frozenset[str]:
        """What could be enabled and is not."""
        return self.available - self.enabled

    def lines(self) -> tuple[str, str]:
        """What `feature list` prints; tools parse these two lines."""
        return (
            f"Disabled features: {' '.join(sorted(self.disabled))}",
            f"Enabled features: {' '.join(sorted(self.enabled))}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureChange:
    """What enabling or disabling features comes to.

    Attributes:
        plan: The links to make or to remove.
        changed: The features that change, in the order asked for.
        unchanged: Those that are already as they should be.
        unknown: Those that cannot be enabled because there is no file for them.
    """

    plan: Plan
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    unknown: tuple[str, ...]

    def check(self) -> None:
        """Complain about unknown features.

        Call it after the plan was carried out: Icinga enables what it can and exits
        with 1 in the end.

        Raises:
            FeatureUnknown: When there was one.
        """
        if self.unknown:
            raise FeatureUnknown(self.unknown)


def read_features(directories: NodeDirectories) -> Features:
    """Look into the two directories; a missing one holds nothing.

    Raises:
        ConfigError: When one of them cannot be listed.
    """
    return Features(
        available=_names(directories.features_available),
        enabled=_names(directories.features_enabled),
    )


def plan_enable(
    features: Features, names: Iterable[str], directories: NodeDirectories
) -> FeatureChange:
    """Plan to enable features.

    Args:
        features: What there is now.
        names: What to enable; any text.
        directories: Where the links go.
    """
    enabled = set(features.enabled)
    links: list[PlannedLink] = []
    changed: list[str] = []
    unchanged: list[str] = []
    unknown: list[str] = []
    for name in names:
        if name in enabled:
            unchanged.append(name)
        elif name not in features.available:
            unknown.append(name)
        else:
            enabled.add(name)
            changed.append(name)
            links.append(feature_link(name, directories))
    return FeatureChange(
        plan=Plan(links=tuple(links)),
        changed=tuple(changed),
        unchanged=tuple(unchanged),
        unknown=tuple(unknown),
    )


def plan_disable(
    features: Features, names: Iterable[str], directories: NodeDirectories
) -> FeatureChange:
    """Plan to disable features.

    A feature that is not enabled counts as unchanged, also when there is no such
    feature: Icinga warns and exits with 0.

    Args:
        features: What there is now.
        names: What to disable; any text.
        directories: Where the links are.
    """
    enabled = set(features.enabled)
    removals: list[Path] = []
    changed: list[str] = []
    unchanged: list[str] = []
    for name in names:
        if name in enabled:
            enabled.remove(name)
            changed.append(name)
            removals.append(directories.feature_enabled(name))
        else:
            unchanged.append(name)
    return FeatureChange(
        plan=Plan(removals=tuple(removals)),
        changed=tuple(changed),
        unchanged=tuple(unchanged),
        unknown=(),
    )


def feature_link(name: str, directories: NodeDirectories) -> PlannedLink:
    """The link that enables a feature; relative, so that the directory can move.

    Raises:
        LayoutError: When the name cannot be part of a file name.
    """
    return PlannedLink(
        path=directories.feature_enabled(name),
        target=f"../features-available/{name}{_ENDING}",
    )


def _names(directory: Path) -> frozenset[str]:
    try:
        files = list_directory(directory)
    except SourceUnreadable as failure:
        raise ConfigError((failure.problem(directory),)) from None
    # A glob of Icinga's, `*.conf`, leaves hidden files out.
    return frozenset(
        file.name.removesuffix(_ENDING)
        for file in files
        if file.name.endswith(_ENDING) and not file.name.startswith(".")
    )
