"""Messages to users that can be translated: a template, and the values filled into it."""

from __future__ import annotations

from collections.abc import Callable


class Refused(ValueError):
    """What a computation cannot do with what a user gave it, as a message to the user."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


class Message(str):
    """An English sentence made of `template` and `values`; `code` names it for programs.

    >>> Message("too-many-tokens", "{n} tokens; at most {limit}", n=900, limit=512)
    '900 tokens; at most 512'
    """

    code: str
    template: str
    values: dict[str, object]

    def __new__(cls, code: str, template: str, /, **values: object) -> Message:
        message = super().__new__(cls, template.format(**values))
        message.code, message.template, message.values = code, template, values
        return message

    def translated(self, translate: Callable[[str], str]) -> str:
        """The message in another language; values that are messages are translated too."""
        values = {
            name: value.translated(translate) if isinstance(value, Message) else value
            for name, value in self.values.items()
        }
        return translate(self.template).format(**values)
