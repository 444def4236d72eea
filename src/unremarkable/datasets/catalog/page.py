"""The catalogue in words: one entry for the terminal, all of them for docs/data-sets.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from unremarkable.datasets.catalog.base import ANY, Counts, Entry

UNKNOWN_LICENCE = "not known here; read the publisher's page"


def describe(entry: Entry) -> list[tuple[str, str]]:
    """What is known of an entry, as `(heading, text)`."""
    lines = [
        ("title", entry.title),
        ("modality", entry.modality),
        ("licence", entry.licence or UNKNOWN_LICENCE),
        ("cite", entry.citation),
        ("get it", f"{entry.homepage} ({entry.access})"),
        ("layout", entry.layout),
        ("splits", entry.splits),
        ("normal", entry.normal),
    ]
    lines += [("counts", f"{edition}: {counts_in_words(counts)}") for edition, counts in entry.counts.items()]
    lines += [("counts from", entry.counted)] if entry.counted else [("counts", "none known for certain")]
    return lines + [("note", note) for note in entry.notes]


def to_dict(entry: Entry) -> dict[str, Any]:
    """An entry, as JSON takes it."""
    return {
        "name": entry.name,
        "title": entry.title,
        "modality": entry.modality,
        "licence": entry.licence,
        "citation": entry.citation,
        "homepage": entry.homepage,
        "access": entry.access,
        "splits": entry.splits,
        "normal": entry.normal,
        "layout": entry.layout,
        "counts": {
            edition: [{"split": split, "class": name, "cases": cases} for (split, name), cases in counts.items()]
            for edition, counts in entry.counts.items()
        },
        "counted": entry.counted,
        "downloads": [{"file": one.file, "url": one.url, "md5": one.md5} for one in entry.downloads],
        "notes": list(entry.notes),
    }


def key_in_words(split: str, name: str) -> str:
    """What a key of counts stands for: "train NORMAL", "in all normal", "cases"."""
    parts = ["in all" if split == ANY else split, "" if name == ANY else name]
    return " ".join(part for part in parts if part) or "cases"


def counts_in_words(counts: Counts) -> str:
    """Published counts in one line, as "train NORMAL 1,349, test NORMAL 234"."""
    return ", ".join(f"{key_in_words(split, name)} {cases:,}" for (split, name), cases in counts.items())


def page(entries: Iterable[Entry]) -> str:
    """The whole of docs/data-sets.md."""
    entries = list(entries)
    lines = [
        "# Data sets",
        "",
        "Public sets that `unremarkable` reads as their publishers ship them, without renaming a file. A name before",
        "a folder, wherever data is asked for, reads the folder as that set, with its labels, splits, patients, masks",
        "and boxes:",
        "",
        "```",
        "unremarkable fit nih-chestxray14:/data/nih -o models/chest",
        "unremarkable data list                                   # all of them",
        "unremarkable data describe nih-chestxray14               # one of them",
        "unremarkable data check /data/nih --as nih-chestxray14   # its counts beside the published ones",
        "unremarkable data check /data/something                  # says which set a folder looks like",
        "unremarkable data get pneumoniamnist -o data             # where anyone may download it",
        "```",
        "",
        "Sets of class folders (brain tumour MRI, chest X-ray, COVID-19, BUSI, BMAD) are understood without a name,",
        "too. Counts are from where the entry says; what is from memory was not looked up. A licence that is not known",
        "for certain is not given.",
        "",
        "Boxes are `(x, y, width, height)` in pixels of the stored image. In sets with several findings an image,",
        "normal means that no finding at all is named; several findings are joined by `|`.",
        "",
        "Cases that are cut out of a file have a path that says so, and are read without anything being written:",
        "`VOLUME.nii.gz#slice/80`, `IMAGE.pgm#window/X,Y,WIDTH,HEIGHT`.",
        "",
        "This page is written from the catalogue: `python -m unremarkable.datasets.catalog.page > docs/data-sets.md`.",
        "",
        "| name | what | licence | cases |",
        "|---|---|---|---|",
    ]
    lines += [f"| [{e.name}](#{e.name}) | {e.modality} | {e.licence or '?'} | {_size(e)} |" for e in entries]
    for entry in entries:
        lines += ["", f"## {entry.name}", ""]
        lines += [f"- {heading}: {text}".replace("*", "\\*") for heading, text in describe(entry)]
        lines += [f"- file: [{one.file}]({one.url}), md5 `{one.md5}`" for one in entry.downloads]
    return "\n".join(lines) + "\n"


def _size(entry: Entry) -> str:
    """How many cases the first edition has; "" where its counts do not say."""
    counts = next(iter(entry.counts.values()), {})
    whole = [cases for (split, name), cases in counts.items() if split == ANY and name == ANY]
    per_split = [cases for (split, name), cases in counts.items() if split != ANY and name == ANY]
    every = [cases for (split, name), cases in counts.items() if split != ANY]
    return f"{sum(whole or per_split or every):,}" if counts else ""


if __name__ == "__main__":
    from unremarkable.datasets.catalog.registry import ENTRIES

    print(page(ENTRIES.values()), end="")
