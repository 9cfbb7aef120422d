"""The line editor of the prompt: its menu, its colours and its keys."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.filters import vi_navigation_mode
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.lexers import Lexer

from umlctl.cli.complete import files
from umlctl.cli.prompt import INSTEAD, VERBS, completed, takes
from umlctl.protocol.commands import BY_NAME
from umlctl.shell import completion
from umlctl.shell.command_line import begun, last, quoted
from umlctl.shell.completion import BUILT_IN, Suggestion
from umlctl.shell.explain import about, names, topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyPressEvent

    from umlctl.shell.completion import Facts
    from umlctl.shell.monitor import GuestMonitor

MAX_SUGGESTIONS: Final = 400
"""The most suggestions that are shown at once: a directory can be long."""
MENU_ROWS: Final = 8
"""How many rows the line and the menu below it have, where the terminal has so many."""
MIN_TOOLBAR_ROWS: Final = 3
"""The fewest rows of a terminal that shows the line below the prompt."""
_FIRST_WORD: Final = re.compile(r"(\s*(?:@\S+\s+)?)(\S*)")


def menu(text: str, guest: str, facts: Facts) -> tuple[list[Suggestion], int]:
    """The suggestions at the end of a text, and how many letters of the text each replaces.

    guest: the current one; empty: none
    """
    text = text.rpartition("\n")[2]
    words, word, length = begun(last(text) or "")
    other = words.pop(0)[1:] if words and words[0].startswith("@") else ""
    if words and _is_outside(words, word, other):
        found = completed(words, word, other or guest)
        if word.startswith("--") and "=" in word:
            length = len(text[len(text) - length :].partition("=")[2])
        return [each._replace(text=quoted(each.text)) for each in found], length
    wanted = completion.wanted(text)
    return completion.offer(wanted, facts._replace(verbs=VERBS), files), len(wanted.prefix)


def _is_outside(words: list[str], word: str, other: str) -> bool:
    """Whether the command line knows what fits. The prompt knows the current guest better."""
    name = words[0]
    if name == "help":
        return len(words) > 1 or word.startswith("-")
    if name == "watch":
        return len(words) == 1 and word.startswith("-")
    if name in INSTEAD:
        return False
    if name in BY_NAME and name not in BUILT_IN and other:
        return True
    return takes(words) or (name in BY_NAME and word.startswith("-"))


def fit(prompt: PromptSession[str], live: GuestMonitor | None = None) -> None:
    """Have a prompt and the line below it fit their terminal, and leave half of it to earlier
    output. With a row less than it reserves, the prompt would show nothing at all."""

    def see(_app: object) -> None:
        rows, columns = prompt.app.output.get_size()
        prompt.reserve_space_for_menu = max(1, min(MENU_ROWS, rows // 2))
        shown = live is not None and rows >= MIN_TOOLBAR_ROWS
        prompt.bottom_toolbar = live.line(columns) if live and shown else None

    prompt.app.before_render += see


class MenuCompleter(Completer):
    """Completes what is typed, for a guest as it was last seen."""

    def __init__(self, live: GuestMonitor) -> None:
        self.live = live

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        offered, length = menu(document.text_before_cursor, self.live.guest, self.live.facts)
        for suggestion in offered[:MAX_SUGGESTIONS]:
            yield Completion(suggestion.text, -length, display_meta=suggestion.meaning or None)


class CommandLexer(Lexer):
    """Colours the command: known, dangerous, or unknown."""

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        def line(number: int) -> StyleAndTextTuples:
            text = document.lines[number]
            found = _FIRST_WORD.match(text)
            assert found is not None
            before, word = found.groups()
            rest = text[found.end() :]
            known = word.removeprefix("!")
            if known in names():
                danger = known in BY_NAME and BY_NAME[known].danger
                colour = "ansiyellow" if danger else "ansigreen"
            else:
                begins = known != word or any(name.startswith(known) for name in names())
                colour = "" if begins or word.startswith("@") else "ansired"
            return [("", before), (colour, word), ("", rest)]

        return line


def lexer() -> CommandLexer | None:
    """The colours, unless the user wants none."""
    return None if os.environ.get("NO_COLOR") else CommandLexer()


def keys() -> KeyBindings:
    """The keys that the prompt has besides those of prompt_toolkit."""
    bindings = KeyBindings()

    @bindings.add("?", filter=~vi_navigation_mode)
    def explain(event: KeyPressEvent) -> None:
        """Help with the command before the cursor, without sending anything."""
        asked = topic(event.current_buffer.document.text_before_cursor)
        if asked is None:
            event.current_buffer.insert_text("?")
            return
        lines = about(asked)
        run_in_terminal(lambda: print("\n".join(lines)))

    return bindings
