"""The course as a whole: every point is on a page and run, every question is answered, every link
between questions, glossary, chapters and modules holds, and the prose keeps to one spelling."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"

# What a cell's tag promises. A cell tagged `point-…` shows a core point, in the open; `folded-…`
# one for the curious, folded; `mistake-…` runs a mistake that public material makes.
POINTS = {
    "point-latent-1": "one observation, several causes; explaining away",
    "point-latent-2": "ancestral sampling; joint, marginal and posterior on a grid; the two cuts",
    "point-latent-3": "models that can be solved: pPCA, and a mixture whose evidence rises",
    "point-latent-4": "EM and large data, per pass",
    "point-latent-5": "intractability, measured: effective sample sizes",
    "point-latent-6": "surprise, nats, log-mean-exp and its bias; a gradient fit",
    "folded-latent-1": "EM for pPCA",
    "folded-latent-2": "what an expectation's subscript says",
    "point-amortized-1": "three ways to infer, by their extra surprise",
    "point-amortized-2": "training on simulated pairs; the floor of a diagonal q",
    "point-amortized-3": "parameters, not z; one loc and one scale per dimension",
    "point-amortized-4": "the bill, in evaluations and in seconds",
    "point-amortized-5": "approximation and amortization, for four sizes",
    "point-amortized-6": "coverage; inside and far outside the data's range",
    "folded-amortized-1": "refining q for one datum",
    "point-kl-1": "surprise, cross-entropy, KL; not negative; maximum likelihood",
    "point-kl-2": "two bumps, both directions, several starts",
    "point-kl-3": "closed forms",
    "point-kl-4": "Monte Carlo: k1, and k3's infinite variance",
    "point-kl-5": "infinite when supports do not match",
    "folded-kl-1": "bits",
    "folded-kl-2": "float32 near the prior",
    "point-elbo-1": "three derivations that meet",
    "point-elbo-2": "a surface with a ceiling; learning θ, φ or both",
    "point-elbo-3": "the two terms; cross-entropy and squared error as likelihoods",
    "point-elbo-4": "E[log p] against log E[p]; pseudocode repaired",
    "point-elbo-5": "the gaps in the ELBO's direction",
    "point-elbo-6": "importance-weighted bounds",
    "folded-elbo-1": "as coordinate ascent it is EM",
    "folded-elbo-2": "rate and distortion",
    "point-reparam-1": "gradient and expectation swapped naively",
    "point-reparam-2": "two right answers and their variances; where pathwise loses",
    "point-reparam-3": "z = loc + exp(½ logvar) ε",
    "point-reparam-4": "both networks in one backward pass",
    "folded-reparam-1": "which distributions allow it",
    "folded-reparam-2": "Gumbel-softmax",
    "folded-reparam-3": "variance against dimension",
    "folded-reparam-4": "sticking the landing",
    "point-vae-1": "an autoencoder first",
    "point-vae-2": "the VAE in a dozen lines, and its ELBO",
    "point-vae-3": "the exact evidence of a neural VAE, and its gaps",
    "point-vae-4": "points against ellipses; reconstruction only",
    "point-vae-5": "means and samples; one posterior, the aggregate, the prior",
    "point-vae-6": "β; rotation; collapse and its five causes",
    "point-vae-7": "the plane's continuity: the KL and the noise, each taken away alone",
    "folded-vae-1": "neighbours",
    "folded-vae-2": "the bottleneck",
    "folded-vae-3": "a learned mixture prior",
    "point-train-1": "where the time goes, and what each change gains",
    "point-train-2": "one script: CPU, GPU, several processes",
    "point-train-3": "ELBO, L_K and when not to trust it, active units, several seeds",
    "point-train-4": "recorded runs, shown as what they are",
    "folded-train-1": "a checkpoint that survives a break",
    "folded-train-2": "dynamic binarization",
    "folded-train-3": "the convolutional network",
}
MISTAKES = {
    "latent": ["log-evidence-at-most-zero", "train-and-test-concatenated"],
    "kl": ["missing-half-in-kl"],
    "elbo": [
        "kl-summed-pixels-averaged",
        "cross-entropy-on-grey",
        "likelihoods-averaged",
        "perfect-reconstruction-zero",
        "minus-elbo-is-nll",
        "weights-favour-the-worst",
        "logged-surrogate",
        "constants-once-too-often",
    ],
    "reparam": ["logvar-as-scale", "score-sign", "random-node"],
    "vae": [
        "deterministic-decoder",
        "means-as-samples",
        "mean-at-test-time",
        "posterior-and-aggregate",
        "autoencoder-samples",
        "collapse-never-mentioned",
    ],
}
MISTAKE_TAGS = {f"mistake-{slug}": chapter for chapter, all_ in MISTAKES.items() for slug in all_}


def chapters():
    """The notebooks of the table of contents, in its order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    return [Path(f).name for f in files if (ROOT / f"{f}.ipynb").exists()]


CHAPTERS = chapters()
NOTEBOOKS = {name: nbformat.read(BOOK / f"{name}.ipynb", as_version=4) for name in CHAPTERS}
PAGES = {
    path.stem: path.read_text()
    for path in sorted(BOOK.glob("*.md"))
    if path.stem in {"index", "notation", "questions", "glossary", "instructors"}
}


def prose(chapter):
    return "\n\n".join(c.source for c in NOTEBOOKS[chapter].cells if c.cell_type == "markdown")


TEXTS = {name: prose(name) for name in CHAPTERS} | PAGES


def tags(cell):
    return set(cell.metadata.get("tags", []))


def tagged(tag):
    chapter = MISTAKE_TAGS.get(tag) or tag.split("-")[1]
    cells = NOTEBOOKS[chapter].cells
    return [(i, cell) for i, cell in enumerate(cells) if tag in tags(cell)], cells


def printed(cell):
    return "".join(o.get("text", "") for o in cell.outputs if o.output_type == "stream")


def shows(cell):
    """It asserts, or prints text that nbval compares."""
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source)))
    checked = re.search(r"assert_close|assert_allclose", cell.source)
    compared = printed(cell) and "nbval-ignore-output" not in tags(cell)
    return asserts or bool(checked) or bool(compared)


def test_the_arc_is_in_order():
    assert CHAPTERS == ["latent", "amortized", "kl", "elbo", "reparam", "vae", "train"]


@pytest.mark.parametrize("tag", POINTS)
def test_each_point_is_on_its_page_and_run(tag):
    found, cells = tagged(tag)
    assert found, f"no cell shows: {POINTS[tag]}"
    assert any(shows(cell) for _, cell in found)
    assert all(cell.outputs for _, cell in found if tag.startswith("folded"))
    if tag.startswith("folded"):
        for index, cell in found:
            assert "hide-cell" in tags(cell)
            before = "".join(c.source for c in cells[max(0, index - 3) : index])
            assert "For the curious" in before
            assert ":class: dropdown" in before
    else:
        assert any("hide-cell" not in tags(cell) for _, cell in found)


@pytest.mark.parametrize("tag", MISTAKE_TAGS)
def test_each_mistake_is_named_and_run_with_its_number(tag):
    found, _ = tagged(tag)
    assert found
    assert any(shows(cell) and re.search(r"\d", printed(cell)) for _, cell in found)
    boxes = re.findall(r"\{admonition\} Mistake: ", prose(MISTAKE_TAGS[tag]))
    assert len(boxes) >= len(MISTAKES[MISTAKE_TAGS[tag]])


def test_no_cell_promises_what_nobody_asked_for():
    known = POINTS.keys() | MISTAKE_TAGS.keys()
    for notebook in NOTEBOOKS.values():
        for cell in notebook.cells:
            promised = {t for t in tags(cell) if re.match(r"(point|folded|mistake)-", t)}
            assert promised <= known


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_its_frame(chapter):
    """Objectives first; summary and further reading with citations last; module and test named."""
    text = prose(chapter)
    opening = text[:3500]
    assert "{admonition} This chapter" in opening
    for promise in ("Afterwards you can", "You need", "It takes"):
        assert promise in opening
    assert f"{{py:mod}}`vaelib.{chapter}`" in opening
    assert f"tests/test_{chapter}.py" in opening
    assert text.index("\n## Summary") < text.index("\n## Further reading")
    assert "{cite:t}" in text.split("## Further reading")[1]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_module_names_its_chapter(chapter):
    module = ROOT / "vaelib" / f"{chapter}.py"
    if not module.exists():
        module = ROOT / "vaelib" / chapter / "__init__.py"
    docstring = ast.get_docstring(ast.parse(module.read_text()))
    assert f":doc:`/book/{chapter}`" in docstring


TARGETS = {
    target: name
    for name, text in TEXTS.items()
    for target in re.findall(r"(?m)^\(([\w-]+)\)=", text)
}


def test_anchors_are_unique_and_say_whose_they_are():
    every = [t for text in TEXTS.values() for t in re.findall(r"(?m)^\(([\w-]+)\)=", text)]
    assert len(every) == len(set(every))
    for target, name in TARGETS.items():
        if name in CHAPTERS:
            assert target.startswith(f"{name}-"), target


def questions():
    parts = re.split(r"(?m)^\(question-(\d+)\)=\n## (\d+)\. (.*)\n", PAGES["questions"])
    return list(zip(parts[1::4], parts[2::4], parts[3::4], parts[4::4], strict=True))


def test_there_are_33_questions_with_stable_addresses():
    numbers = [(int(a), int(b)) for a, b, _, _ in questions()]
    assert numbers == [(n, n) for n in range(1, 34)]
    assert "Thirty-three of them" in PAGES["index"]


@pytest.mark.parametrize(
    "word", ["IWAE", "bits per dimension", "learning rate", "licence", "mean-field", "reparametriz"]
)
def test_the_search_finds_a_word_that_readers_type(word):
    assert word in PAGES["questions"] + PAGES["glossary"]


@pytest.mark.parametrize(("_", "number", "title", "answer"), questions())
def test_a_question_is_answered_in_a_few_sentences_with_a_link_to_a_cell(_, number, title, answer):
    assert title.rstrip().endswith("?")
    plain = re.sub(r"\$[^$]*\$|\[([^\]]*)\]\([^)]*\)", r"\1", answer)
    sentences = re.findall(r"[.?](?=\s|$)", plain)
    assert 2 <= len(sentences) <= 6, sentences
    links = re.findall(r"\]\(([\w-]+)\)", answer)
    assert links, "no link to a cell"
    for link in links:
        chapter = TARGETS[link]
        assert chapter in CHAPTERS
        # The link's place is followed by a cell, before the next section of the same level.
        cells = NOTEBOOKS[chapter].cells
        at = next(i for i, c in enumerate(cells) if f"({link})=" in c.source)
        following = cells[at + 1 : at + 4]
        assert any(c.cell_type == "code" for c in following), link


def glossary():
    return re.findall(r"(?m)^(\S.*)\n  (.+)$", PAGES["glossary"].split("::::{glossary}")[1])


def test_each_term_links_to_where_it_is_introduced():
    terms = glossary()
    assert len(terms) > 50
    for term, meaning in terms:
        links = re.findall(r"\]\(([\w-]+)\)", meaning)
        assert links, term
        assert all(TARGETS[link] in CHAPTERS for link in links), term


def test_a_term_is_explained_where_its_link_leads():
    """From the link's place to the end of its section stands the term's first word."""
    missing = []
    for term, meaning in glossary():
        for link in re.findall(r"\]\(([\w-]+)\)", meaning):
            text = TEXTS[TARGETS[link]].split(f"({link})=\n", 1)[1].lstrip()
            section = re.split(r"(?<=\n)## ", text)[0]
            if term.split()[0].lower()[:9] not in section.lower():
                missing.append((term, link))
    assert not missing


def test_each_term_of_the_glossary_is_used_in_the_chapters():
    used = set()
    for chapter in CHAPTERS:
        for text in re.findall(r"\{term\}`([^`]+)`", prose(chapter)):
            used.add((re.search(r"<(.+)>", text) or [None, text])[1].lower())
    unused = {term.lower() for term, _ in glossary()} - used
    assert not unused


# British spelling with -ize, as CONTRIBUTING says. The left half of each is American, the right
# half the other British habit.
OTHER_SPELLINGS = re.compile(
    r"\b(?:colors?|colored|centers?|centered|neighbors?|neighboring|behaviors?|favors?|favorite|"
    r"modeling|modeled|labeled|labeling|gray|meters?|analyz\w+|"
    r"\w*(?:minimis|maximis|optimis|normalis|generalis|amortis|parameteris|binaris|initialis|"
    r"regularis|summaris|organis|recognis|standardis|realis|emphasis(?=e|ing))\w*)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("name", TEXTS)
def test_one_spelling(name):
    text = re.sub(
        r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\(https?://\S+\)", "", TEXTS[name], flags=re.S
    )
    assert OTHER_SPELLINGS.findall(text) == []


@pytest.mark.parametrize("name", TEXTS)
def test_no_obviously(name):
    assert not re.search(r"(?i)\b(obvious(ly)?|clearly|trivial(ly)?|of course)\b", TEXTS[name])


def numbers(text):
    """Decimal numbers of a text, as pairs (absolute value, decimals)."""
    found = re.findall(r"(?<![\w.])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?![\w]|\.\d)", text)
    return {(float(a.replace(",", "") + b), len(b[1:]) if b else 0) for a, b in found}


@pytest.mark.parametrize("name", [*CHAPTERS, "questions"])
def test_each_number_of_the_prose_comes_from_a_cell(name):
    """A number of two digits or more in a sentence occurs in a cell's code or output, rounded."""
    text = TEXTS[name]
    text = re.sub(
        r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\{cite:\w\}`[^`]*`", " ", text, flags=re.S
    )
    text = re.sub(r"\]\([^)]*\)|\([\w-]+\)=|\*\*It takes\*\*.*|^#+ .*", " ", text, flags=re.M)
    sources = [name] if name in CHAPTERS else CHAPTERS
    known = {28.0, 784.0}  # the size of an image
    for chapter in sources:
        for cell in NOTEBOOKS[chapter].cells:
            if cell.cell_type == "code":
                known |= {value for value, _ in numbers(cell.source.replace("_", ""))}
                known |= {value for value, _ in numbers(printed(cell))}
    unknown = [
        (value, decimals)
        for value, decimals in sorted(numbers(text))
        if value >= 10 or decimals
        if not any(round(k * scale, decimals) == value for k in known for scale in (1, 100))
    ]
    assert not unknown
