"""The settings of what handlers are kept from, and may take: a part of `Settings`, in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from taskservice.config_file import Bytes


class IsolationSettings(BaseModel):
    """How tenants' handlers are kept apart, and what one of them may take of its machine."""

    tenant_users: Literal["auto", "own", "shared"] = Field(
        "auto",
        description="Whether handlers run as a system user of their tenant's own, which takes root: auto, as soon as there "
        "is a second tenant, which is refused where it cannot be; own, always; shared, never, and so tenants can reach "
        "each other's files and the service's.",
    )
    uid_min: int = Field(1_900_000_000, ge=1_000, lt=1 << 31, description="Number of tenants' first system user.")
    uid_max: int = Field(1_900_065_535, ge=1_000, lt=1 << 31, description="Number of the last one.")
    uid_file: str = Field(
        "/var/lib/taskservice/uids",
        min_length=1,
        description="File that says which tenant has which user, for all services of a machine.",
    )
    secrets_dir: str = Field(
        "",
        validate_default=True,
        description='Directory with a file for each secret that functions may ask for, on each machine; "" means '
        "<home>/secrets.",
    )
    temp_dir: str = Field(
        "", description='Directory for the temporary files of handlers, on each machine; "" means the system\'s.'
    )
    temp_bytes_max: Annotated[int, Bytes] = Field(
        16 << 30, gt=0, description="Bytes of temporary files that one handler's process may have."
    )
    temp_files_max: int = Field(100_000, gt=0, description="Temporary files that it may have.")
    file_bytes_max: Annotated[int, Bytes] = Field(16 << 30, gt=0, description="Bytes of any file that it writes.")
    open_files_max: int = Field(16_384, ge=64, description="Files and connections that it may have open.")
    processes_max: int = Field(
        1_000, ge=16, description="Processes and threads that it may have, with all that it has started."
    )
    tenant_processes_max: int = Field(
        4_096, ge=16, description="Processes and threads of a tenant that has a user of its own, on one machine."
    )

    @field_validator("secrets_dir", "temp_dir", "uid_file", mode="after")
    @classmethod
    def _places(cls, given: str, info: ValidationInfo) -> str:
        if not given and info.field_name == "secrets_dir" and "home" in info.data:
            return str(info.data["home"] / "secrets")
        return str(Path(given).expanduser().absolute()) if given else ""

    @model_validator(mode="after")
    def _are_users(self) -> Self:
        if self.uid_max < self.uid_min:
            raise ValueError(f"uid_max cannot be below uid_min ({self.uid_min})")
        return self
