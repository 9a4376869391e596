#!/usr/bin/env python3
"""Outside check of the recipe `render`: decodes the picture and compares it with the analytic one of scenes/furnace.json.

    check.py --result FOLDER --scene scenes/furnace.json

In a sky of equal light a matte ball of colour c shows c times the sky and everything else the sky itself, whatever the number of samples. So every pixel must be
a mixture of the two developed colours, the middle must be the ball's and the corners the sky's. Only Python's standard library is used.
Exit 1 on any difference, 2 if the input cannot be read.
"""

import argparse
import json
import pathlib
import struct
import sys
import zlib


def pixels_of(data):
    """Rows of (r, g, b) of an 8-bit colour PNG without interlacing, checksums verified."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("no PNG")
    at, compressed, header = 8, b"", None
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + length]
        (check,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        if zlib.crc32(kind + content) != check:
            raise ValueError(f"checksum of {kind!r}")
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", content)
        elif kind == b"IDAT":
            compressed += content
        at += 12 + length
    width, height = header[:2]
    raw = zlib.decompress(compressed)
    if header[2:] != (8, 2, 0, 0, 0) or len(raw) != height * (1 + 3 * width):
        raise ValueError(f"unexpected form {header}")
    rows = []
    for row in range(height):
        line = raw[row * (1 + 3 * width) :][: 1 + 3 * width]
        if line[0] != 0:
            raise ValueError("a filter is used")
        rows.append([tuple(line[1 + 3 * x : 4 + 3 * x]) for x in range(width)])
    return rows


def developed(light):
    x = 0.6 * light
    x = min(1.0, x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14))
    x = 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055
    return round(255 * x)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--result", required=True, type=pathlib.Path)
    parser.add_argument("--scene", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        rows = pixels_of((arguments.result / "picture.png").read_bytes())
        scene = json.loads(arguments.scene.read_text(encoding="utf-8"))
        sky, colour = scene["sky"], scene["materials"]["half"]["colour"]
    except (OSError, KeyError, ValueError, TypeError, struct.error, zlib.error) as error:
        print(f"cannot read the input: {error!r}", file=sys.stderr)
        sys.exit(2)
    outside = [developed(light) for light in sky]
    inside = [developed(light * share) for light, share in zip(sky, colour)]
    height, width = len(rows), len(rows[0])

    def near(pixel, expected):
        return all(abs(got - want) <= 1 for got, want in zip(pixel, expected))

    wrong, ball, mixed = 0, 0, 0
    for row in rows:
        for pixel in row:
            if near(pixel, inside):
                ball += 1
            elif not near(pixel, outside):
                mixed += 1
                wrong += not all(low - 1 <= got <= high + 1 for got, low, high in zip(pixel, inside, outside))
    wrong += not near(rows[height // 2][width // 2], inside)
    corners = [rows[y][x] for y in (0, height - 1) for x in (0, width - 1)]
    wrong += sum(not near(corner, outside) for corner in corners)
    # The ball of radius r at distance d is seen as a circle of tangent r / sqrt(d^2 - r^2).
    distance, radius = scene["camera"]["from"][2], scene["spheres"][0]["radius"]
    tangent = radius / (distance**2 - radius**2) ** 0.5
    area = 3.141592653589793 * (tangent / scene["camera"]["height"] * height) ** 2
    wrong += not abs(ball + mixed / 2 - area) <= 0.02 * area + 8
    print(f"pixels={width * height} ball={ball} edge={mixed} expected_area={area:.0f} wrong={wrong}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
