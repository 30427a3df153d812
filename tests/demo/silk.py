"""silk's two writers, simulated: vxlan-policy-agent and the CNI plugin.

They run command by command, in the order that the real ones were seen to use.

Every step is a commit of its own, as on a real cell, so a reader in between sees what can be seen there. Source:
silk-release cni-wrapper-plugin/lib/plugin_controller.go, netrules/*.go; vxlan-policy-agent/enforcer/enforcer.go,
converger.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from demo import rules
from demo.command import Run
from demo.world import LEASE, OVERLAY, UNDERLAY_INTERFACE, Group, Instance, NetworkPolicy

TABLES = ("filter", "nat", "mangle")
_POLICY_CHAIN = re.compile(r"-j vpa--(\d+)$")


@frozen(kw_only=True)
class Iptables:
    """One backend's programs (``nft`` or ``legacy``), run by ``run``."""

    backend: str
    run: Run

    def command(self, table: str, *arguments: str, codes: Sequence[int] = (0,)) -> None:
        """One ``iptables`` command; it waits for the lock as silk's do."""
        self.run((f"iptables-{self.backend}", "-t", table, *arguments, "--wait"), "", codes)

    def restore(self, table: str, *lines: str) -> None:
        """Lines like ``-A CHAIN RULE``, all in one commit; what is there stays.

        It waits for the lock, as silk does with a lock file of its own around the program.
        """
        text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
        self.run((f"iptables-{self.backend}-restore", "--noflush", "--wait"), text, (0,))

    def replace(self, text: str) -> None:
        """Put whole tables, as `save` gave them, in the place of those that are there, each in one commit."""
        self.run((f"iptables-{self.backend}-restore", "--wait"), text, (0,))

    def save(self, *tables: str) -> str:
        """Whole tables as text, without counters; all three that silk writes in unless told."""
        return "".join(self.run((f"iptables-{self.backend}-save", "-t", table), "", (0,)) for table in tables or TABLES)

    def chain(self, name: str, table: str = "filter") -> list[str]:
        """The rules of a chain in order, as iptables prints them, without ``-A`` and name."""
        start = f"-A {name} "
        return [line.removeprefix(start) for line in self.save(table).splitlines() if line.startswith(start)]

    def policy_chains(self) -> list[str]:
        """The policy chains that FORWARD jumps to, in order."""
        return [f"vpa--{found[1]}" for found in map(_POLICY_CHAIN.search, self.chain("FORWARD")) if found]


@frozen(kw_only=True)
class Release:
    """What differs between releases of silk.

    ``not_masqueraded`` is where containers' packets keep their own addresses; ``several_overlays`` says whether VPA's
    configuration may list several overlay networks (silk-release PR 148 and 151, in 3.66).
    """

    not_masqueraded: str
    several_overlays: bool


RELEASES = {
    "new": Release(not_masqueraded=LEASE, several_overlays=True),
    "2024": Release(not_masqueraded=OVERLAY, several_overlays=False),
}
"""By the name that the demo's ``--silk`` takes: 3.116 (2026), and 3.53 (October 2024)."""


@frozen(kw_only=True)
class Silk:
    """Writes the rules of containers and policies. ``groups`` are the security groups of the platform."""

    iptables: Iptables
    groups: Sequence[Group] = field(factory=tuple)
    release: Release = RELEASES["2024"]

    def masquerade(self, instance: Instance) -> str:
        """The container's rule of address translation."""
        return rules.masquerade(instance.address, self.release.not_masqueraded)

    def plan(self, instances: Sequence[Instance], policies: Sequence[NetworkPolicy], tags: Mapping[str, int]) -> None:
        """VPA swaps the policy chain.

        It looks for old ones among FORWARD's jumps only, and only for those older than its own.
        """
        tables = self.iptables
        new = f"vpa--{time.time_ns() // 1000}"
        tables.command("filter", "-N", new)
        tables.restore("filter", f"-I FORWARD 1 -j {new}")
        tables.restore("filter", *(f"-A {new} {rule}" for rule in rules.policy_rules(instances, policies, tags)))
        for old in tables.policy_chains():
            if old < new:
                tables.command("filter", "-D", "FORWARD", "-j", old)
                self._drop("filter", old)

    def create(self, instance: Instance) -> None:
        """The CNI plugin sets up a container.

        Filter chains first, then ports, VPA's security groups, and address translation.
        """
        self._hang_filter_chains(instance)
        self._fill_filter_chains(instance)
        self._open_ports(instance)
        self._sync_groups(instance)
        self.iptables.restore("nat", f"-A POSTROUTING {self.masquerade(instance)}")

    def _hang_filter_chains(self, instance: Instance) -> None:
        tables = self.iptables
        for parent, condition, name in _jumps(instance):
            tables.command("filter", "-N", name)
            tables.restore("filter", f"-A {parent} {condition}--jump {name}")
        tables.command("filter", "-N", rules.chain("netout", instance.handle, "log"))

    def _fill_filter_chains(self, instance: Instance) -> None:
        handle = instance.handle
        for name, content in (
            (rules.chain("input", handle), rules.input_rules()),
            (rules.chain("netout", handle), [rules.REJECT]),
            (rules.chain("overlay", handle), rules.overlay_rules(instance.address)),
            (rules.chain("netout", handle, "log"), rules.log_rules(handle)),
        ):
            self.iptables.restore("filter", *(f"-A {name} {rule}" for rule in content))

    def _open_ports(self, instance: Instance) -> None:
        name = rules.chain("netin", instance.handle)
        for table in ("nat", "mangle"):
            self.iptables.command(table, "-N", name)
            self.iptables.restore(table, f"-A PREROUTING --jump {name}")
        for host_port, port in enumerate(instance.app.ports, start=instance.host_port):
            self.iptables.restore("nat", f"-A {name} {rules.dnat(instance, host_port, port)}")
            self.iptables.restore("mangle", f"-A {name} {rules.ingress_mark(host_port)}")

    def _sync_groups(self, instance: Instance) -> None:
        """VPA hangs a security group chain in front, fills it, and puts the closing REJECT behind it anew."""
        tables = self.iptables
        netout, asg = rules.chain("netout", instance.handle), rules.asg_chain(instance.handle)
        tables.command("filter", "-N", asg)
        tables.restore("filter", f"-I {netout} 1 -j {asg}")
        tables.restore(
            "filter", *(f"-A {asg} {rule}" for rule in rules.asg_rules(self.groups, instance.app.space_guid))
        )
        tables.command("filter", "-D", netout, "2")
        tables.command("filter", "-A", netout, *rules.REJECT.split())

    def delete(self, instance: Instance) -> None:
        """The CNI plugin takes a container's chains down. Its rules in the policy chain stay until VPA plans again."""
        tables = self.iptables
        netin, log = rules.chain("netin", instance.handle), rules.chain("netout", instance.handle, "log")
        for table in ("nat", "mangle"):
            tables.command(table, "-D", "PREROUTING", "--jump", netin)
            self._drop(table, netin)
        for parent, condition, name in _jumps(instance):
            tables.command("filter", "-D", parent, *condition.split(), "--jump", name)
            self._drop("filter", name)
        # Security groups that log still go to the log chain: its first removal then fails (4), so it is tried again at
        # the end.
        self._drop("filter", log, codes=(0, 1, 4))
        tables.command("nat", "-D", "POSTROUTING", *self.masquerade(instance).split())
        self._drop("filter", rules.asg_chain(instance.handle))
        tables.command("filter", "-X", log, codes=(0, 1))

    def _drop(self, table: str, name: str, *, codes: Sequence[int] = (0,)) -> None:
        """Flush and delete a chain; silk finds out that it exists by trying to create it (answers 1)."""
        self.iptables.command(table, "-N", name, codes=(1,))
        self.iptables.command(table, "-F", name)
        self.iptables.command(table, "-X", name, codes=codes)


def _jumps(instance: Instance) -> tuple[tuple[str, str, str], ...]:
    """Parent chain, condition and own chain of each of a container's filter chains that traffic reaches."""
    handle, source = instance.handle, f"-s {instance.address} "
    return (
        ("INPUT", source, rules.chain("input", handle)),
        ("FORWARD", f"{source}-o {UNDERLAY_INTERFACE} ", rules.chain("netout", handle)),
        ("FORWARD", "", rules.chain("overlay", handle)),
    )
