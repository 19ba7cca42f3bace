"""`gs://` for the service and for those who call it: a storage emulator in this process."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from .asking import Refused

__all__ = ["Storage"]


class Storage:
    """Objects by `gs://bucket/name`. Without a folder they are in memory."""

    def __init__(self, folder: Path | None, port: int) -> None:
        from gcp_storage_emulator.server import create_server

        where = {"in_memory": folder is None, "data_dir": folder and str(folder)}
        self._server = create_server("127.0.0.1", port, **where)
        self._server.start()
        self.port = int(self._server._api._httpd.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def read(self, uri: str) -> bytes:
        """Raises Refused when there is no such object."""
        bucket, name = _apart(uri)
        path = f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}?alt=media"
        try:
            with urllib.request.urlopen(self.url + path) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            error.close()
            raise Refused(400, f"The Cloud Storage path {uri} does not exist.") from error

    def write(self, uri: str, data: bytes) -> None:
        bucket, name = _apart(uri)
        query = urlencode({"uploadType": "media", "name": name})
        path = f"/upload/storage/v1/b/{quote(bucket, safe='')}/o?{query}"
        request = urllib.request.Request(
            self.url + path, data, {"content-type": "application/octet-stream"}
        )
        with urllib.request.urlopen(request):
            pass

    def names(self) -> list[str]:
        """All objects, as `gs://...`."""
        found = []
        for bucket in self._json("/storage/v1/b?project=p").get("items", []):
            listed = self._json(f"/storage/v1/b/{bucket['name']}/o")
            found += [f"gs://{bucket['name']}/{item['name']}" for item in listed.get("items", [])]
        return found

    def wipe(self) -> None:
        self._server.wipe()

    def _json(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path) as response:
            return json.load(response)


def _apart(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name
