"""A plan meets the repository: what stands there, what goes there, and whether it arrived."""

from imgprep import hashing
from imgprep.dataset import card
from imgprep.failures import RunStopped
from imgprep.io.hub import Repo
from imgprep.stages.publish import checks, patterns, shards
from imgprep.stages.publish.loaded import load_back
from imgprep.stages.publish.plan import PublishPlan, SeenFiles
from imgprep.stages.publish.publication import Publication
from imgprep.words import number_of

CARD = f"{shards.PLACE}/card.md"  # as it was published last
LOADED_BYTES = 1 << 30  # a config that is larger is only streamed when it is loaded back
NOT_OURS = (
    "is taken by something that imgprep did not publish, or its card has lost the marks of imgprep"
)
BY_GIT = (".gitattributes", "README.md")


def compare_with_hub(plan: PublishPlan, repo: Repo | None) -> SeenFiles | None:
    """The repository as it stands; None where there is none. The plan gets the card that goes with
    it."""
    there = None
    if repo and not plan.found.problems:
        repo.check_rights()
        there = repo.look()
        _adopt(plan, repo, there)
    if found := patterns.first_found(plan.card):
        # Where it stands, not what it is: this is printed, and stays in notebooks.
        what, at = found
        line = plan.card.count("\n", 0, at) + 1
        where = f"in line {line}, {plan.card[at:].strip()[:4]}…"
        plan.found.problems.append(f"the card holds {what} {where}: take it out")
    return there


def _adopt(
    plan: PublishPlan,
    repo: Repo,
    there: SeenFiles | None,
) -> None:
    """The name of the repository, and what a person wrote into its card."""
    plan.repo_id = repo.id
    theirs = ""
    if there:
        head, files = there
        theirs = repo.text("README.md", head) if "README.md" in files else ""
        is_used = theirs or any(name not in BY_GIT for name in files)
        if is_used and not card.is_ours(theirs):
            raise ValueError(f"{repo.url} {NOT_OURS}: take another name, or put them back")
        if repo.is_public():
            plan.found.notes.append(f"{repo.url} is public")
    last = (plan.folder.get(CARD) or b"").decode()
    plan.card = plan.text(card.latest(plan.local, theirs, last))


def send_plan(
    plan: PublishPlan,
    repo: Repo,
    there: SeenFiles | None,
    result: Publication,
    *,
    private: bool,
    tag: str | None,
) -> None:
    """Put the files there and load them back; `result` gets what came of it."""
    head, _ = there or repo.create(private=private)
    is_new = bool(result.added or result.removed)
    tags = repo.tags() if tag else {}
    # A tag that moves would take a version from those who named it.
    if tag in tags and (is_new or tags[tag] != head):
        taken = f"has a tag {tag!r} already, of commit {tags[tag][:12]}"
        raise ValueError(f"{repo.url} {taken}: take another")
    if is_new:
        wanted = plan.wanted()
        files = [f for f in wanted if f.name in {*result.added}]
        digest = hashing.digest([(f.name, f.sha256) for f in wanted])[:12]
        # The hash in the message: a run that was killed finds its own pull request by it.
        message = f"Publish with imgprep ({digest})"
        head = repo.send(files, result.removed, head=head, message=message)
        result.loaded = loaded_back(plan, repo, head)
    else:
        result.loaded = "nothing to send: it is there already"
    # After it is there: what was published last is what both sides are compared with.
    plan.folder.put(CARD, plan.card.encode())
    plan.folder.put("README.md", card.adopt(plan.local, plan.card).encode())
    if tag and tag not in tags:
        repo.tag(tag, head)
    result.commit, result.tag, result.url = head, tag, repo.url
    shards.sweep_shards(plan.folder, [f["at"] for f in plan.files])


def loaded_back(
    plan: PublishPlan,
    repo: Repo,
    head: str,
) -> str:
    """Compare checksums, and load it as a reader would. In words how far that went."""
    files = (repo.look(head) or ("", {}))[1]
    for file in plan.wanted():
        if files.get(file.name) != (file.sha256, file.bytes):
            raise RunStopped(f"{file.name} on {repo.url} is not what was sent: run it again")
    found = load_back(repo.id, head, most_bytes=LOADED_BYTES, token=repo.token)
    if trouble := checks.check_loaded(found, plan.files):
        raise RunStopped(f"{repo.url} does not load back: {trouble}")
    counts = [n for splits in found.values() for n in splits.values()]
    rows = sum(n["streamed"] for n in counts)
    is_whole = all(n["loaded"] is not None for n in counts)
    how = "streaming and not" if is_whole else "streaming, small configs also not"
    return f"{number_of(rows, 'row')} loaded back, {how}"
