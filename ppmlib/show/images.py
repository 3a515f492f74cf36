"""At which size a figure's PNG is shown, in pages and in notebooks."""

CSS_PIXELS_PER_METRE = 96 / 0.0254


def shown_width(png: bytes) -> int:
    """Width in CSS pixels of a PNG at its true size; finer pixels make it sharper, not larger.

    A PNG that does not say how large its pixels are (pHYs) is shown pixel by pixel.
    """
    pixels = int.from_bytes(png[16:20])  # IHDR is the first chunk of every PNG
    at = png.find(b"pHYs") + 4
    per_metre = int.from_bytes(png[at : at + 4]) if at > 4 else CSS_PIXELS_PER_METRE
    return round(pixels * CSS_PIXELS_PER_METRE / per_metre)
