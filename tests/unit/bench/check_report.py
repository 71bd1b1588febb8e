#!/usr/bin/env python3
"""Says what is wrong with what chorus-bench writes; status 0 when nothing is.

    page FILE...             pages and pictures stand alone: nothing is loaded from elsewhere, tags nest, identifiers are
                             unique, and what refers to one finds it
    schema README.md FILE... every field of results is described, and every field that is described is there
"""
import html.parser
import json
import re
import sys
import xml.dom.minidom

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.wanted, self.faults = [], [], set(), []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.look(tag, attributes)

    def handle_startendtag(self, tag, attributes):
        self.look(tag, attributes)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> out of place")

    def look(self, tag, attributes):
        if tag in ("script", "link", "iframe", "object", "embed", "img", "image"):
            self.faults.append(f"<{tag}>")
        for name, value in attributes:
            value = value or ""
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "xlink:href", "src") or name.startswith("on"):
                self.refer(name, value)
            for inside in re.findall(r"url\(([^)]*)\)", value):
                self.refer(name, inside)

    def refer(self, name, value):
        if not value.startswith("#"):
            self.faults.append(f"{name}={value}")
        self.wanted.add(value[1:])


def check_page(path):
    text = open(path, encoding="utf-8").read()
    page = Page()
    page.feed(text)
    page.close()
    faults = page.faults + [f"<{tag}> is left open" for tag in page.open]
    faults += [f"{name} is there twice" for name in sorted(set(page.ids)) if page.ids.count(name) > 1]
    faults += [f"nothing is called {name}" for name in sorted(page.wanted - set(page.ids))]
    faults += [f"style has {word}" for word in ("@import", "url(") if any(word in style for style in
               re.findall(r"<style>(.*?)</style>", text, re.S))]
    pictures = re.findall(r"<svg.*?</svg>", text, re.S)
    for picture in pictures:
        try:
            xml.dom.minidom.parseString(picture.encode())
        except Exception as error:
            faults.append(f"a picture is no XML: {error}")
    return [f"{path}: {fault}" for fault in faults]


def words(cell):
    return re.findall(r"`([a-z0-9_]+)`", cell)


def described(readme):
    """Of results, of a series, figures, and of a profile's side: the tables of the section, in order; of a row and of
    a profile: sentences."""
    section = readme.split("\n## results.json\n")[1].split("\n## ")[0]
    tables = [[row.strip("| ").split(" | ", 1) for row in table.splitlines()[2:]]
              for table in re.findall(r"(?:^\|.*\n)+", section, re.M)]
    top, series, figures, side = tables
    return ({name: words(text) for cell, text in top for name in words(cell)},
            {name: words(text) for cell, text in series for name in words(cell)},
            {name for cell, _ in figures for name in words(cell)},
            words(section.split("A row has")[1].split("\n\n")[0]),
            {name: words(text) for cell, text in side for name in words(cell)},
            words(section.split("Of `profiles`, each has")[1].split("\n\n")[0]))


def fields_of(objects):
    return {name for one in objects for name in one}


def check_schema(readme_path, paths):
    top, series, figures, row, side, profile = described(open(readme_path, encoding="utf-8").read())
    all_results = [json.load(open(path, encoding="utf-8")) for path in paths]
    rows = [one for results in all_results for one in results["rows"]]
    all_series = [one for one_row in rows for one in one_row["series"]]
    kinds = [
        ("results", fields_of(all_results), set(top), True),
        ("a row", fields_of(rows), set(row), True),
        ("a series", fields_of(all_series), set(series), True),
        ("a figure", fields_of(f for s in all_series for f in s["figures"].values()), set(series["figures"]), False),
        ("figures", fields_of(s["figures"] for r in rows if r["work"] != "part" for s in r["series"]), figures, False),
    ]
    profiles = [one for results in all_results for one in results["profiles"]]
    sides = [one[name] for one in profiles for name in ("dialler", "listener") if one[name] is not None]
    kinds += [
        ("a profile", fields_of(profiles), set(profile), len(profiles) > 0),
        ("a profile's side", fields_of(sides), set(side), any("cores" in one for one in sides)),
        ("shares", fields_of(one["shares"] for one in sides), set(side["shares"]), len(sides) > 0),
        ("a symbol", fields_of(symbol for one in sides for symbol in one["symbols"]), set(side["symbols"]) - {"shares"},
         len(sides) > 0),
    ]
    for name in ("settings", "machine", "skipped", "missing", "targets"):
        values = [one for results in all_results for one in
                  (results[name] if isinstance(results[name], list) else [results[name]])]
        kinds.append((name, fields_of(values), set(top[name]), name in ("settings", "machine")))
    faults = []
    for kind, there, told, whole in kinds:
        faults += [f"{kind}: {name} is not described" for name in sorted(there - told)]
        faults += [f"{kind}: {name} is described, and not there" for name in sorted(told - there) if whole]
    return faults


if __name__ == "__main__":
    if sys.argv[1] == "page":
        wrong = [fault for path in sys.argv[2:] for fault in check_page(path)]
    else:
        wrong = check_schema(sys.argv[2], sys.argv[3:])
    for line in wrong:
        print(line)
    sys.exit(1 if wrong else 0)
