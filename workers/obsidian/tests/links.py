"""Where the links of an Obsidian vault lead: a second opinion, which knows nothing of Plexus.

Written after Obsidian's help (Internal links; Settings, New link format) and the answers of its
MetadataCache.getFirstLinkpathDest. Reads {"files": [path], "links": [[note, link]]} and prints the targets, null for none.
"""

import json
import posixpath
import re
import sys
import unicodedata
from urllib.parse import unquote


def composed(text):
    return unicodedata.normalize("NFC", text)


def same(text):
    return composed(text).lower()


def units(text):
    return composed(text).encode("utf-16-be")


def linkpath(link):
    """The path part of a wikilink or a Markdown link."""
    wiki = re.fullmatch(r"!?\[\[(.*)\]\]", link)
    if wiki:
        text = wiki.group(1).split("|")[0].removesuffix("\\")
        return text.split("#")[0].strip()
    destination = re.fullmatch(r"!?\[[^\]]*\]\(<?([^>]*?)>?\)", link).group(1)
    return unquote(destination).split("#")[0].strip()


def leads(files, note, link):
    path = same(linkpath(link))
    if not path:
        return note
    if path.endswith("/"):
        return None
    known = {same(file): file for file in files}
    folder = posixpath.dirname(note)

    def exactly(path):
        return known.get(path) or known.get(path + ".md")

    if path.startswith(("./", "../")):
        names = [name for name in same(folder).split("/") if name]
        for part in path.split("/"):
            if part == "..":
                if not names:
                    return None
                names.pop()
            elif part != ".":
                names.append(part)
        return exactly("/".join(names))
    if path.startswith("/"):
        return exactly(path[1:])
    if exactly(path):
        return exactly(path)
    for wanted in (path, path + ".md"):
        fit = [file for key, file in known.items() if key.endswith("/" + wanted)]
        near = [file for file in fit if same(file).startswith(same(folder) + "/") or not folder]
        if near or fit:
            # Obsidian leaves open which of equals it is: the first by the names on the disk.
            return min(near or fit, key=lambda file: (len(units(file)), file.encode("utf-16-be")))
    return None


asked = json.load(sys.stdin)
json.dump([leads(asked["files"], note, link) for note, link in asked["links"]], sys.stdout)
