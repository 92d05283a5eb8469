"""What the pages say is there, is there: names, files, links, the reading order, command lines, presets."""

import ast
import re
import runpy
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from standing import Module, forked

from ancestral.cli import main as command_line
from ancestral.cli import options as cli_options
from ancestral.errors import InputError
from ancestral.presets import PRESETS
from ancestral.settings import Config, field_names

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ancestral"
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]
every_page = pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


class Understood(Exception):
    """Raised in place of what a command would do, once its words have been understood."""


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def quoted(page: Path) -> list[str]:
    """What stands between backticks in the text."""
    return CODE.findall(FENCE.sub("", read(page)))


def resolve(name: str) -> object:
    """The object of a dotted name: the longest importable module, then attributes."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:length]))
        except ModuleNotFoundError as missing:
            if not name.startswith(str(missing.name)):
                raise
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return found
    raise AttributeError(name)


def commands(page: Path) -> Iterator[str]:
    """Command lines of `ancestral` in fenced blocks and between backticks, without comments."""
    fenced = (line for kind, block in FENCE.findall(read(page)) if kind in ("", "text", "sh", "bash", "console")
              for line in block.splitlines())  # fmt: skip
    for line in (*fenced, *quoted(page)):
        line = line.strip().removeprefix("$ ")
        if line.startswith("ancestral "):
            yield line


def anchors(page: Path) -> set[str]:
    """What #fragments may point to: headings as GitHub and MyST spell them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_names_of_the_package_exist(page: Path) -> None:
    for name in quoted(page):
        if re.fullmatch(r"ancestral(\.\w+)+", name) and not name.endswith(".json"):
            assert resolve(name) is not None, name


def test_a_name_that_is_not_there_is_found_missing() -> None:
    with pytest.raises(AttributeError):
        resolve("ancestral.diffusion.process.GaussianDiffusion.q_jump")
    with pytest.raises(AttributeError):
        resolve("ancestral.diffusion.reverse")


@every_page
def test_files_of_the_project_exist(page: Path) -> None:
    for name in quoted(page):
        if re.fullmatch(r"[\w/]+\.py", name):
            assert any((base / name).is_file() for base in (ROOT, SOURCE)), f"{name} is in neither {ROOT} nor {SOURCE}"


@cache
def names_of_tests() -> set[str]:
    texts = (read(path) for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for text in texts for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)}


@every_page
def test_tests_named_on_the_pages_exist(page: Path) -> None:
    named = [name for name in quoted(page) if re.fullmatch(r"test_\w+", name)]
    assert [name for name in named if name not in names_of_tests()] == []


@every_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", read(page))):
        if not re.match(r"\w+:", link):
            path, _, fragment = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not fragment or fragment in anchors(target), f"{link}: no such heading"


def test_the_tables_of_the_mathematics_name_functions_and_equations_that_exist() -> None:
    """The function column is short; its names are in one of the modules that the page names."""
    page = ROOT / "docs" / "math.md"
    text = read(page)
    modules = [resolve(name) for name in set(quoted(page)) if re.fullmatch(r"ancestral(\.[a-z_]+){1,2}", name)]
    homes = [module for module in modules if isinstance(module, ModuleType)]
    rows = [line.removeprefix("|").removesuffix("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    functions = [name for row in rows for name in CODE.findall(row[-2])]
    assert len(functions) > 20, "the last column but one names the function"
    missing = [name for name in functions if not any(has(home, name) for home in homes)]
    assert missing == []
    numbered = re.findall(r"\\tag\{(\d+)\}", text)
    assert numbered == [str(n) for n in range(1, len(numbered) + 1)], "equations are numbered in order"
    assert set(re.findall(r"\((\d+)\)", CODE.sub("", text))) <= set(numbered), "an equation is cited that is not there"


def has(home: object, dotted: str) -> bool:
    for name in dotted.split("."):
        home = getattr(home, name, None)
    return home is not None


@every_page
def test_command_lines_are_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes through the command's own parser; what it would do then is left out."""
    understand = cli_options.Options.words

    def words_only(self: cli_options.Options, argv: list[str]) -> None:
        understand(self, argv)
        raise Understood

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("Pictures/birds", "TARGET"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(cli_options.Options, "words", words_only)
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        if {"VERB", "TASK", "--help", "--version"} & {*words}:
            continue
        assert words[0] in command_line.VERBS, line
        if len(words) == 1 or words == ["data", "check"]:
            continue
        with pytest.raises(Understood):
            command_line.run(words)


def test_a_wrong_command_line_is_not_understood() -> None:
    with pytest.raises(InputError, match="did you mean"):
        command_line.run(["train", "digits", "--training.minute", "5"])
    with pytest.raises(InputError):
        command_line.run(["samples", "runs/digits"])


def test_every_verb_and_preset_is_described() -> None:
    text = read(ROOT / "docs" / "command-line.md")
    assert [verb for verb in command_line.VERBS if f"ancestral {verb}" not in text] == []
    assert [preset for preset in PRESETS if f"`{preset}`" not in text.split("## sample")[0]] == []


@every_page
def test_settings_named_with_a_flag_exist(page: Path) -> None:
    """`--training.lr` between backticks is a setting, even where no whole command line is quoted."""
    flags = [name.removeprefix("--").split()[0] for name in quoted(page) if re.match(r"--\w+\.\w+", name)]
    assert [flag for flag in flags if flag not in field_names(Config)] == []


def build(builder: str, folder: Path) -> None:
    """In a process of its own: Sphinx's extensions warn of themselves, which is not about the pages."""
    words = ["-W", "--keep-going", "-q", "-b", builder, "-d", folder / "trees", ROOT / "docs", folder / builder]
    with forked(Module("sphinx", *words), folder) as built:
        _, said = built.communicate(timeout=300)
    assert built.returncode == 0, said


def test_the_pages_are_read_and_refer_to_one_another_without_a_warning(tmp_path: Path) -> None:
    """By the builder that reads and resolves all, and writes nothing."""
    build("dummy", tmp_path)


@pytest.mark.slow
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    build("html", tmp_path)
    for page in DOCS.rglob("*.md"):
        assert (tmp_path / "html" / page.relative_to(DOCS).with_suffix(".html")).is_file()
    text = read(tmp_path / "html" / "share.html")
    assert 'href="digits.html"' in text, "a page that generates, which lies beside the others"
    assert "Written by ancestral share." in read(tmp_path / "html" / "digits.html")


def test_every_word_of_the_glossary_links_the_paper_or_library_that_uses_it() -> None:
    rows = re.findall(r"^\| .+ \|$", read(DOCS / "glossary.md"), re.MULTILINE)[1:]
    assert len(rows) > 20
    assert [row for row in rows if not re.search(r"\]\(https://", row.split(" | ")[-1])] == []


@every_page
def test_python_on_the_pages_is_python_and_imports_what_exists(page: Path) -> None:
    for block in (block for kind, block in FENCE.findall(read(page)) if kind == "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                assert all(has(import_module(node.module or ""), alias.name) for alias in node.names), block


RUNS = ("networks.md", "training.md")
"""Pages whose blocks stand for themselves; those of the others go on from things that the text describes."""


@pytest.mark.parametrize("name", RUNS)
def test_python_on_the_pages_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block as a reader would run it, in an empty folder; it leaves the run it speaks of."""
    monkeypatch.chdir(tmp_path)
    blocks = [block for kind, block in FENCE.findall(read(ROOT / "docs" / name)) if kind == "python"]
    for number, block in enumerate(blocks):
        script = tmp_path / f"block_{number}.py"
        script.write_text(block, encoding="utf-8")
        runpy.run_path(str(script))
    assert blocks and [*(tmp_path / "runs").glob("*/pipeline/ancestral.json")]
