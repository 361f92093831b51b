"""Steps: the smallest things an operation does, and the dependency graph that orders them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pulumi_embedded._diff import DiffResult, PropertyDiff
from pulumi_embedded._goal import Goal, ReadGoal
from pulumi_embedded._state import ResourceState

SAME = "same"
CREATE = "create"
UPDATE = "update"
DELETE = "delete"
REPLACE = "replace"
CREATE_REPLACEMENT = "create-replacement"
DELETE_REPLACED = "delete-replaced"
READ = "read"
READ_REPLACEMENT = "read-replacement"
REFRESH = "refresh"
DISCARD = "discard"
DISCARD_REPLACED = "discard-replaced"
REMOVE_PENDING_REPLACE = "remove-pending-replace"
IMPORT = "import"
IMPORT_REPLACEMENT = "import-replacement"

_NOT_LOGICAL = {
    CREATE_REPLACEMENT, DELETE_REPLACED, READ_REPLACEMENT, REFRESH, DISCARD_REPLACED,
    REMOVE_PENDING_REPLACE, IMPORT_REPLACEMENT,
}  # fmt: skip


@dataclass(eq=False)
class Step:
    """One step on one resource. `old` is what the state had, `new` what it will have."""

    op: str
    old: ResourceState | None
    new: ResourceState | None
    goal: Goal | ReadGoal | None = None
    keys: Sequence[str] = ()
    diffs: Sequence[str] = ()
    detailed: Mapping[str, PropertyDiff] | None = None
    stables: Sequence[str] = ()
    pending_delete: bool = False
    """create-replacement: the old one is deleted later (create before delete)."""
    pending_replacement: bool = False
    """delete-replaced: the old entry stays, marked, until its replacement exists (delete before create)."""
    other_deletions: Mapping[str, bool] = field(default_factory=dict)
    original: ResourceState | None = None
    """import-replacement: the entry that is replaced."""
    refresh_diff: DiffResult | None = None
    refresh_deleted: bool = False

    @property
    def urn(self) -> str:
        """The resource's URN."""
        return self.res.urn

    @property
    def res(self) -> ResourceState:
        """The entry that stands for the step."""
        state = self.old if self.op in (DELETE, REFRESH) or self.new is None else self.new
        assert state is not None
        return state

    @property
    def logical(self) -> bool:
        """Whether it counts as a change of its own, rather than as a part of a replacement."""
        return self.op not in _NOT_LOGICAL

    @property
    def internal(self) -> bool:
        """Whether users are not told about it (default providers, book-keeping)."""
        name = self.res.name
        default = self.res.is_provider and (name == "default" or name.startswith("default_"))
        return default or self.op == REMOVE_PENDING_REPLACE

    @property
    def result_op(self) -> str:
        """What a refresh found: same, update or delete; for other steps their op."""
        if self.op != REFRESH:
            return self.op
        if self.refresh_deleted:
            return DELETE
        if self.new is self.old or self.refresh_diff is None or not self.refresh_diff.changes:
            return SAME
        return UPDATE


def delete_op(state: ResourceState, replacing: bool) -> str:
    """Deleting what is not ours is only forgetting it."""
    if state.external:
        return DISCARD_REPLACED if replacing else DISCARD
    return DELETE_REPLACED if replacing else DELETE


class Graph:
    """Who depends on whom, in a list where everything stands after what it needs."""

    def __init__(self, resources: Sequence[ResourceState]) -> None:
        self._resources = list(resources)
        self._index = {state: i for i, state in enumerate(self._resources)}
        self._children: dict[str, list[int]] = {}
        by_urn: dict[str, int] = {}
        for i, state in enumerate(self._resources):
            by_urn[state.urn] = i
            parent = state.parent
            while parent:
                self._children.setdefault(parent, []).append(i)
                parent = self._resources[by_urn[parent]].parent if parent in by_urn else ""

    def __contains__(self, state: ResourceState) -> bool:
        return state in self._index

    def dependents(self, root: ResourceState, ignore: Callable[[str], bool]) -> list[ResourceState]:
        """Everything that directly or indirectly refers to `root`, other than as its parent, in list order."""
        found: list[ResourceState] = []
        urns = {root.urn}
        for state in self._resources[self._index[root] + 1 :]:
            if not ignore(state.urn) and any(urn in urns for urn in state.references(with_parent=False)):
                found.append(state)
                urns.add(state.urn)
        return found

    def dependencies(self, state: ResourceState) -> set[ResourceState]:
        """What the entry needs: its references, its parent, and the children of components among them."""
        position = self._index[state]
        urns = set(state.references(with_parent=False))
        found = set()
        for candidate in self._resources[:position]:
            if candidate.urn in urns:
                found.add(candidate)
                if not candidate.custom:
                    children = (i for i in self._children.get(candidate.urn, ()) if i < position)
                    found.update(self._resources[i] for i in children)
            elif candidate.urn == state.parent:
                found.add(candidate)
        return found

    def transitive_dependencies(self, state: ResourceState) -> set[ResourceState]:
        """Everything below `dependencies`."""
        found: set[ResourceState] = set()
        todo = [state]
        while todo:
            for dependency in self.dependencies(todo.pop()):
                if dependency not in found:
                    found.add(dependency)
                    todo.append(dependency)
        return found


def antichains(steps: Iterable[Step], graph: Graph) -> list[list[Step]]:
    """Deletions in rounds: all of one round may run at once, dependents come in earlier rounds than what they need."""
    by_state = {step.res: step for step in steps}
    needs = {state: graph.dependencies(state) & by_state.keys() for state in by_state}
    rounds: list[list[Step]] = []
    left = dict.fromkeys(by_state)
    while left:
        ready = [state for state in left if not any(need in left for need in needs[state])]
        rounds.append([by_state[state] for state in ready])
        for state in ready:
            del left[state]
    rounds.reverse()
    return rounds


def rebuilt(resources: Iterable[ResourceState], refreshed: Mapping[ResourceState, Step]) -> list[ResourceState]:
    """The state after a refresh: what is gone is left out, and nothing refers to it any more."""
    kept: list[ResourceState] = []
    present: set[str] = set()
    new_parent: dict[str, str] = {}
    for state in resources:
        step = refreshed.get(state)
        new = state if step is None else (None if step.refresh_deleted else step.new)
        if new is None:
            continue
        new.dependencies = [urn for urn in new.dependencies if urn in present]
        pruned = {key: [u for u in urns if u in present] for key, urns in new.property_dependencies.items()}
        new.property_dependencies = {key: urns for key, urns in pruned.items() if urns}
        new.replace_with = [urn for urn in new.replace_with if urn in present]
        if new.deleted_with not in present:
            new.deleted_with = ""
        kept.append(new)
        present.add(new.urn)
    for state in kept:
        if state.parent and state.parent not in present:
            state.parent = new_parent.get(state.parent, "")
        new_parent[state.urn] = state.parent
    return kept
