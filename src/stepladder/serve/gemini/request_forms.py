"""The forms of the requests to models, of the Developer API and of Vertex in one.

Either service's fields are taken at both. A field that would change the answer in a way that no
model here can is refused with the reason; one that changes nothing here is read and left.
"""

from __future__ import annotations

from ...core import Json
from .. import Refusal
from .forms import (
    Form,
    anything,
    data,
    decimal,
    each,
    flag,
    mapped,
    message,
    one_of,
    struct,
    text,
    whole,
)  # fmt: skip
from .schema import SCHEMA

__all__ = ["COMPUTE", "CONTENT", "COUNT", "GENERATE", "TOOL", "TOOL_CONFIG", "refused"]


def refused(why: str) -> Form:
    """A field that the services have and this server has not."""

    def read(value: Json, place: str) -> Json:
        raise Refusal("unsupported", f"{place!r} cannot be used: {why}", param=place)

    return read


def signature(value: Json, place: str) -> str:
    """Bytes in base64 that go back as they came."""
    data(value, place)
    return str(value)


NO_MEDIA = refused("the models here make and read text only")
NO_CODE = refused("this server runs no code for a model")
NO_SEARCH = refused("this server gives models no search and no access to the web")
ONE_PIECE = refused("calls and results are whole here, not sent in pieces")

BLOB = message({"mimeType": text, "data": data, "displayName": text}, required=("mimeType",))
FILE = message({"mimeType": text, "fileUri": text, "displayName": text}, required=("fileUri",))
CALL = message(
    {
        "id": text, "name": text, "args": struct, "partialArgs": ONE_PIECE,
        "willContinue": ONE_PIECE,
    },
    required=("name",),
)  # fmt: skip
RESULT = message(
    {
        "id": text, "name": text, "response": struct, "parts": each(NO_MEDIA),
        "willContinue": ONE_PIECE,
        "scheduling": one_of("SCHEDULING_UNSPECIFIED", "SILENT", "WHEN_IDLE", "INTERRUPT"),
    },
    required=("name",),
)  # fmt: skip
PART = message({
    "text": text, "inlineData": BLOB, "fileData": FILE, "functionCall": CALL,
    "functionResponse": RESULT, "thought": flag, "thoughtSignature": signature,
    "videoMetadata": struct, "mediaResolution": anything, "mediaProcessing": text,
    "partMetadata": struct, "executableCode": NO_CODE, "codeExecutionResult": NO_CODE,
    "toolCall": NO_CODE, "toolResponse": NO_CODE, "audioTranscription": NO_MEDIA,
    "speechMetadata": NO_MEDIA,
})  # fmt: skip
CONTENT = message({"role": text, "parts": each(PART)})

DECLARATION = message(
    {
        "name": text, "description": text, "parameters": SCHEMA, "parametersJsonSchema": anything,
        "response": SCHEMA, "responseJsonSchema": anything,
        "behavior": one_of("UNSPECIFIED", "BLOCKING", "NON_BLOCKING"),
    },
    required=("name",),
)  # fmt: skip
TOOL = message({
    "functionDeclarations": each(DECLARATION), "googleSearch": NO_SEARCH,
    "googleSearchRetrieval": NO_SEARCH, "enterpriseWebSearch": NO_SEARCH,
    "exaAiSearch": NO_SEARCH, "parallelAiSearch": NO_SEARCH, "urlContext": NO_SEARCH,
    "googleMaps": NO_SEARCH, "retrieval": NO_SEARCH, "fileSearch": NO_SEARCH,
    "codeExecution": NO_CODE, "computerUse": NO_CODE,
    "mcpServers": refused("this server calls no other servers for a model"),
})  # fmt: skip
TOOL_CONFIG = message({
    "functionCallingConfig": message({
        "mode": one_of("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"),
        "allowedFunctionNames": each(text), "streamFunctionCallArguments": flag,
    }),
    "retrievalConfig": NO_SEARCH, "includeServerSideToolInvocations": flag,
})  # fmt: skip

MIME_TYPE = one_of("MIME_TYPE_UNSPECIFIED", "APPLICATION_JSON", "TEXT_PLAIN")
RESPONSE_FORMAT = message({
    "text": message({"mimeType": MIME_TYPE, "schema": anything}),
    "audio": NO_MEDIA, "image": NO_MEDIA, "video": NO_MEDIA,
})  # fmt: skip
GENERATION_CONFIG = message({
    "temperature": decimal, "topP": decimal, "topK": decimal, "candidateCount": whole,
    "maxOutputTokens": whole, "stopSequences": each(text), "presencePenalty": decimal,
    "frequencyPenalty": decimal, "seed": whole, "responseLogprobs": flag, "logprobs": whole,
    "responseMimeType": text, "responseSchema": SCHEMA, "responseJsonSchema": anything,
    "_responseJsonSchema": anything, "responseFormat": each(RESPONSE_FORMAT),
    "thinkingConfig": message({
        "includeThoughts": flag, "thinkingBudget": whole,
        "thinkingLevel": one_of("THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH"),
    }),
    "responseModalities": each(
        one_of("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO", "VIDEO")
    ),
    "mediaResolution": text, "audioTimestamp": flag, "enableEnhancedCivicAnswers": flag,
    "modelConfig": struct, "speechConfig": NO_MEDIA, "imageConfig": NO_MEDIA,
    "audioTranscriptionConfig": NO_MEDIA, "translationConfig": NO_MEDIA,
    "enableAffectiveDialog": NO_MEDIA,
    "routingConfig": refused("the model is the one that the path names"),
})  # fmt: skip
SAFETY = message({
    "category": one_of(
        "HARM_CATEGORY_UNSPECIFIED", "HARM_CATEGORY_DEROGATORY", "HARM_CATEGORY_TOXICITY",
        "HARM_CATEGORY_VIOLENCE", "HARM_CATEGORY_SEXUAL", "HARM_CATEGORY_MEDICAL",
        "HARM_CATEGORY_DANGEROUS", "HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_HATE_SPEECH",
        "HARM_CATEGORY_SEXUALLY_EXPLICIT", "HARM_CATEGORY_DANGEROUS_CONTENT",
        "HARM_CATEGORY_CIVIC_INTEGRITY", "HARM_CATEGORY_IMAGE_HATE",
        "HARM_CATEGORY_IMAGE_DANGEROUS_CONTENT", "HARM_CATEGORY_IMAGE_HARASSMENT",
        "HARM_CATEGORY_IMAGE_SEXUALLY_EXPLICIT", "HARM_CATEGORY_JAILBREAK",
    ),
    "threshold": one_of(
        "HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE",
        "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF",
    ),
    "method": one_of("HARM_BLOCK_METHOD_UNSPECIFIED", "SEVERITY", "PROBABILITY"),
})  # fmt: skip
GENERATE = message({
    "model": text, "contents": each(CONTENT), "systemInstruction": CONTENT, "tools": each(TOOL),
    "toolConfig": TOOL_CONFIG, "generationConfig": GENERATION_CONFIG,
    "safetySettings": each(SAFETY), "cachedContent": text, "labels": mapped(text),
    "serviceTier": one_of("unspecified", "standard", "flex", "priority"), "store": flag,
    "continuationToken": refused("this server never breaks an answer off to be continued"),
    "modelArmorConfig": refused("this server has no filter of contents"),
    "outputConfig": NO_MEDIA,
})  # fmt: skip
COUNT = message({
    "model": text, "contents": each(CONTENT), "systemInstruction": CONTENT, "tools": each(TOOL),
    "generationConfig": GENERATION_CONFIG, "generateContentRequest": GENERATE,
    "instances": each(anything),
})  # fmt: skip
COMPUTE = message({"model": text, "contents": each(CONTENT), "instances": each(anything)})
