"""Fields that records share."""

from typing import Annotated, NotRequired

from pydantic import Field

# Before Python 3.12, pydantic cannot read the TypedDict of `typing`.
from typing_extensions import TypedDict

Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Percent = Annotated[Number, Field(ge=0, le=100)] | None
Count = Annotated[int, Field(ge=0)]


class File(TypedDict):
    """What every file has; `write` sets it."""

    schema: NotRequired[int]
