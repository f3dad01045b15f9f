"""Reads our messages with pyiso8583, and writes random ones of its own for us: iso8583_others.py OURS THEIRS."""

import json
import random
import string
import sys

import iso8583
from iso8583.specs import default_ascii

PACKED = {"2", "3", "4", "7", "11", "12", "13", "14", "15", "18", "22", "25", "32", "33", "90", "100"}


def specification(profile):
    """The profile in pyiso8583's terms: its own table, with the encodings of tests/vectors/iso8583.json."""
    spec = {number: dict(field) for number, field in default_ascii.items()}
    spec["h"]["max_len"] = 0
    # As the standard has them: fixed, where the library's table is of 1993, or shorter.
    spec["90"].update(len_type=0, max_len=42)
    spec["100"].update(len_type=2, max_len=11)
    if profile != "ascii_hex_bitmap":
        spec["p"].update(data_enc="b", max_len=8)
        spec["1"].update(data_enc="b", max_len=8)
    if profile.startswith("bcd"):
        spec["t"]["data_enc"] = "b"
        for number, field in spec.items():
            if number.isdigit() and int(number) > 1:
                # Of packed lengths the library wants the bytes: two digits are one, three are two.
                field.update(len_enc="bcd", len_type=(field["len_type"] + 1) // 2)
        packed = PACKED | ({"39", "49", "70"} if profile == "bcd_all_numeric" else set())
        for number in packed:
            # Lengths count digits, and an odd number of them has a zero before it.
            spec[number].update(data_enc="b", len_count="nibbles", left_pad="0")
    return spec


def random_message(chance):
    text = lambda length: "".join(chance.choices(string.ascii_letters + string.digits + " -/", k=length))
    digits = lambda length: "".join(chance.choices(string.digits, k=length))
    makers = {
        "2": lambda: digits(chance.randint(12, 19)),
        "3": lambda: digits(6),
        "4": lambda: digits(12),
        "7": lambda: digits(10),
        "11": lambda: digits(6),
        "12": lambda: digits(6),
        "13": lambda: digits(4),
        "14": lambda: digits(4),
        "18": lambda: digits(4),
        "22": lambda: digits(3),
        "25": lambda: digits(2),
        "32": lambda: digits(chance.randint(1, 11)),
        "37": lambda: text(12),
        "38": lambda: text(6),
        "39": lambda: digits(2),
        "41": lambda: text(8),
        "42": lambda: text(15),
        "48": lambda: text(chance.randint(0, 200)),
        "49": lambda: digits(3),
        "54": lambda: text(chance.randint(0, 120)),
        "70": lambda: digits(3),
        "90": lambda: digits(42),
        "95": lambda: text(42),
    }
    chosen = chance.sample(sorted(makers, key=int), chance.randint(1, len(makers)))
    return {"t": "0" + digits(3), **{number: makers[number]() for number in chosen}}


def main(ours, theirs):
    checked = 0
    for item in json.load(open(ours)):
        decoded, _ = iso8583.decode(bytes.fromhex(item["framed"])[2:], specification(item["profile"]))
        read = {number: value for number, value in decoded.items() if number not in ("h", "p", "1") }
        assert read == item["fields"], (item, read)
        checked += 1
    chance = random.Random(8583)
    written = []
    for profile in ("ascii_hex_bitmap", "ascii_binary_bitmap", "bcd", "bcd_all_numeric"):
        for _ in range(100):
            message = random_message(chance)
            encoded, _ = iso8583.encode(dict(message), specification(profile))
            written.append({"profile": profile, "message": encoded.hex().upper(), "fields": message, "exact": True})
    json.dump(written, open(theirs, "w"))
    print(f"pyiso8583 read {checked} of our messages and wrote {len(written)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
