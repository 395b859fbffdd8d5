"""Readers of annotation exports, a file each; `data.annotations.ANNOTATION_FORMATS` names them."""
