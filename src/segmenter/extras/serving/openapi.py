"""The service described for programs (OpenAPI 3.1)."""

from typing import Any

from segmenter.extras.serving.page_answers import LICENSE_HEADER

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_REFUSALS = {
    "400": "The request cannot be read.",
    "401": "A bearer token is required.",
    "403": "A page of another site asks.",
    "406": "None of the accepted media types can be sent.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The content type is not one that is taken.",
    "421": "The request names another host than this machine.",
    "422": "The body holds nothing that can be labelled.",
    "429": "Too many requests are being worked on; see Retry-After.",
    "503": "The service is about to stop, or its memory does not suffice.",
    "504": "The deadline passed.",
}


def openapi(model: str, version: str) -> dict[str, Any]:
    """Return the description; `model` is the name in paths."""
    path = f"/v2/models/{model}"
    return {
        "openapi": "3.1.0",
        "info": {"title": "Segmenter", "version": version},
        "paths": {
            "/segment": {"post": _segment()},
            "/confidence": {"post": _confidence()},
            "/attention": {"post": _attention()},
            "/picture": {"post": _picture()},
            f"{path}/infer": {"post": _infer()},
            path: _get(
                "Return the names, types and shapes of the model's tensors.", {"type": "object"}
            ),
            f"{path}/ready": _get(
                "Report whether the model accepts requests.", {"type": "object"}, ready=True
            ),
            "/v2": _get("Return name, version and extensions of the server.", {"type": "object"}),
            "/v2/health/live": _get("Report whether the server runs.", {"type": "object"}),
            "/v2/health/ready": _get(
                "Report whether the server accepts requests.", {"type": "object"}, ready=True
            ),
            "/model.json": _get(
                "Return name, licence, classes, colours and layers of the model.",
                {"type": "object"},
            ),
            "/metrics": _get("Counters for Prometheus.", {"type": "string"}, kind="text/plain"),
        },
        "components": {
            "schemas": {"Problem": _problem_schema()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


_BINARY = {"type": "string", "format": "binary"}
_LICENSE = {
    LICENSE_HEADER: {
        "description": "Terms of use of the model; missing if it has none.",
        "schema": {"type": "string"},
    }
}


def _segment() -> dict[str, Any]:
    return _of_image(
        "Label every pixel of an image.",
        "By `Accept`: the label map, the image under its colours and a legend, or shares, run "
        "lengths and polygons.",
        {"image/png": _BINARY, "image/jpeg": _BINARY, "application/json": _labels_schema()},
    )


def _confidence() -> dict[str, Any]:
    return _of_image(
        "Return the probability of the predicted class at each pixel of an image.",
        "A grey picture: the probability of each pixel's class, 0 to 255.",
        {"image/png": _BINARY},
    )


def _attention() -> dict[str, Any]:
    number, share = {"type": "integer"}, {"type": "number", "minimum": 0, "maximum": 1}
    asked = {"layer": number, "row": share, "column": share, "class": number}
    operation = _of_image(
        "Return the attention of a patch, or of a class in the decoder, to each patch of an image.",
        "The weights of each head, row by row.",
        {"application/json": {"type": "object", "required": ["grid", "covered", "heads"]}},
    )
    operation["parameters"] = [
        {"name": name, "in": "query", "schema": schema} for name, schema in asked.items()
    ]
    return operation


def _picture() -> dict[str, Any]:
    return _of_image(
        "Return the picture of an image that a browser cannot read, such as a TIFF.",
        "RGB; of other images three channels, each over its range in the training images.",
        {"image/jpeg": _BINARY},
    )


def _of_image(summary: str, answer: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return an operation that takes an image, as a body or in a form."""
    form = {"type": "object", "properties": {"image": _BINARY}, "required": ["image"]}
    kinds = {"image/*": _BINARY, "application/octet-stream": _BINARY, "multipart/form-data": form}
    return {
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in kinds.items()},
        },
        "responses": {
            "200": {
                "description": answer,
                "headers": _LICENSE,
                "content": {kind: {"schema": schema} for kind, schema in content.items()},
            },
            **_refusals(*_REFUSALS),
        },
    }


def _infer() -> dict[str, Any]:
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"const": "image"},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1},
                "minItems": 4,
                "maxItems": 4,
            },
            "datatype": {"enum": ["UINT8", "UINT16", "FP32"]},
            "data": {"type": "array"},
        },
    }
    request = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": 256},
            "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1},
        },
    }
    answer = {"type": "object", "required": ["model_name", "outputs"]}
    return {
        "summary": "Label images given as tensors (Open Inference Protocol).",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {
                "description": "Labels; as bytes behind the JSON where the request came so.",
                "headers": _LICENSE,
                "content": {
                    "application/json": {"schema": answer},
                    "application/octet-stream": {"schema": _BINARY},
                },
            },
            **_refusals(
                "400", "401", "403", "408", "413", "415", "421", "422", "429", "503", "504"
            ),
        },
    }


def _get(
    summary: str, schema: dict[str, Any], *, kind: str = "application/json", ready: bool = False
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": summary, "content": {kind: {"schema": schema}}},
        **_refusals("401", "403", "421"),
    }
    if ready:
        content = {kind: {"schema": schema}}
        responses["503"] = {"description": "It is about to stop.", "content": content}
    return {"get": {"summary": summary, "responses": responses}}


def _refusals(*statuses: str) -> dict[str, Any]:
    return {
        status: {
            "description": _REFUSALS[status],
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
        for status in statuses
    }


def _problem_schema() -> dict[str, Any]:
    properties = {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "What is wrong, for programs."},
        "detail": {"type": "string", "description": "One sentence for people."},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _labels_schema() -> dict[str, Any]:
    number, points = {"type": "integer"}, {"type": "array", "items": {"type": "array"}}
    one_class = {
        "index": number,
        "name": {"type": "string"},
        "color": {"type": "array", "items": number},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "rle": {"type": "object", "description": "COCO's run lengths."},
        "polygons": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"outer": points, "holes": {"type": "array", "items": points}},
            },
        },
    }
    classes = {"type": "array", "items": {"type": "object", "properties": one_class}}
    return {
        "type": "object",
        "properties": {"height": number, "width": number, "classes": classes},
        "required": ["height", "width", "classes"],
    }
