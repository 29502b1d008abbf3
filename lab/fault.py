"""What the lab raises instead of a traceback: sentences about what was found, and what to do."""

from inspect import cleandoc


def printable(text, most=200):
    """Text from elsewhere, fit for a terminal: control characters become ?, and what is longer than most is cut."""
    text = str(text)
    shown = "".join(character if character.isprintable() else "?" for character in text[:most])
    return shown if len(text) <= most else f"{shown[:-1]}…"


def plain(text):
    """A text without what would move the cursor, change colours, or spoil an XML file, wherever it came from."""
    return "".join(c if c.isprintable() or c == "\n" else " " * c.isspace() for c in str(text))


class Fault(Exception):
    """What was found instead of an answer, and what to do about it."""

    passes = False  # whether it goes away by itself

    def __init__(self, found, remedy=""):
        super().__init__(plain(found))
        self.remedy = plain(remedy)

    def sentences(self):
        return " ".join(f"{part}." for part in (str(self), self.remedy) if part)


class Wrong(Fault):
    """A wrong state that has a name. Each kind is a class: its docstring says what is wrong, next what to do.

    Both are templates for the facts with which it is raised.
    """

    next = ""

    def __init__(self, **facts):
        sentence = " ".join(cleandoc(self.__doc__).removesuffix(".").split())
        super().__init__(sentence.format_map(facts), " ".join(self.next.split()).format_map(facts))
