"""XML from other programs, which may declare no entities."""

import re
from xml.etree import ElementTree

from segmenter.errors import UserError

_DECLARATION = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)


def parse_xml(content: bytes, name: str) -> ElementTree.Element:
    """Return the root of an XML document.

    Args:
        content: The document, in UTF-8 whatever it claims: another encoding could hide a
            declaration.
        name: What errors call it.

    Raises:
        UserError: If it is not XML, or declares a document type or entities.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UserError(f"{name} is not UTF-8, as tools write XML; export it again") from None
    if _DECLARATION.search(text):
        raise UserError(
            f"{name} declares a document type (<!DOCTYPE or <!ENTITY), which is refused: it can "
            "make a small file stand for a huge one; remove the declaration"
        )
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError(f"{name} is not XML: {error}; export it again") from None
