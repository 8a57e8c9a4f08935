"""The kinds of job one key opens, as data: where each is created and asked about."""

from __future__ import annotations

from attrs import frozen


@frozen
class Kind:
    """One endpoint of the family.

    Attributes:
        name: what the vendor calls it; also the callback's ``task_type``.
        path: create by POST here, query by GET on ``path/{task_id}``.
        prefix: how its task ids begin.
    """

    name: str
    path: str
    prefix: str


# keevx-api.md, "Create", source 1: ids look like i2v-d6b6472bcf724d0399e06d1390cb964e.
IMAGE_TO_VIDEO = Kind("image_to_video", "/v1/image_to_video", "i2v-")
