"""Sentences whose word has a known sense: what a word in a new sentence is compared with.

Written for this project and under its licence; in none of the texts that the models read.
"""

from __future__ import annotations

SOURCE = "written for Attention Atlas, Apache-2.0"

REFERENCES: dict[str, dict[str, tuple[str, ...]]] = {
    "bank": {
        "river": (
            "We tied the boat to a tree on the bank of the river.",
            "Tall grass grew along the muddy bank of the stream.",
            "The children fished from the bank until it was dark.",
            "A heron stood on the far bank and looked into the water.",
            "After the flood the river had washed its left bank away.",
            "They walked along the bank and listened to the rushing water.",
            "The ferry crossed to the opposite bank of the river.",
            "Otters dug their holes in the steep bank above the river.",
        ),
        "money": (
            "The bank lent him the money to buy a house.",
            "She keeps her savings in a bank in the city.",
            "The bank raised its interest rates on every loan.",
            "He went to the bank to pay in a check.",
            "The manager of the bank refused to give them credit.",
            "My salary is paid into my bank account on Friday.",
            "Robbers broke into the bank and took all the cash.",
            "The central bank printed more money during the crisis.",
        ),
    }
}
