"""Settings: every knob of the product, read from the environment and ``.env``, refused all at once when wrong."""

import os
import secrets
import tempfile
from contextlib import suppress
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AnyHttpUrl, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIN_JWT_SECRET_BYTES = 32
CommaList = Annotated[tuple[str, ...], NoDecode]


class ConfigurationError(Exception):
    """The settings are wrong; the message lists every mistake, one a line, and never a value."""


class AppEnv(StrEnum):
    """Where this process runs: production insists on what development makes up."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class OnDisconnect(StrEnum):
    """What becomes of an answer that nobody reads any more."""

    CONTINUE = "continue"
    CANCEL = "cancel"


class StreamRecovery(StrEnum):
    """What follows when an answer breaks off after text was shown."""

    RESTART = "restart"
    FAIL = "fail"


class CacheControlStrategy(StrEnum):
    """Which parts of a prompt may be marked for caching."""

    AUTO = "auto"
    SYSTEM = "system"
    CONVERSATION = "conversation"
    OFF = "off"


class RoutingStrategy(StrEnum):
    """How OpenRouter chooses among hosts and models."""

    AUTO = "auto"
    FALLBACK = "fallback"
    PRICE = "price"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


class Settings(BaseSettings):
    """One field per environment variable (upper case); the README's table explains each."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    app_env: AppEnv = AppEnv.DEVELOPMENT
    data_dir: Path = Path("data")
    database_url: str = Field(default="", repr=False)  # it may hold a password
    database_pool_size: int = Field(default=10, ge=1, le=500)
    redis_url: SecretStr | None = None  # it may hold a password
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"
    cors_origins: CommaList = ()
    max_body_bytes: int = Field(default=1_048_576, ge=1_024)
    shutdown_grace_seconds: float = Field(default=20.0, ge=0)

    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    on_disconnect_cancel_seconds: float = Field(default=30.0, ge=0)
    stream_recovery: StreamRecovery = StreamRecovery.RESTART
    answer_log_keep_seconds: float = Field(default=300.0, ge=0)
    answer_checkpoint_seconds: float = Field(default=5.0, gt=0)

    quota_lease_seconds: float = Field(default=60.0, ge=1, le=3600)
    reconcile_interval_seconds: float = Field(default=15.0, gt=0)

    jwt_secret: Annotated[SecretStr | None, Field(validate_default=True)] = None
    jwt_issuer: str = "wisqu"
    jwt_audience: str = "wisqu-api"
    access_token_minutes: int = Field(default=15, ge=1, le=24 * 60)
    refresh_token_days: int = Field(default=30, ge=1, le=365)
    argon2_time_cost: int = Field(default=3, ge=1, le=20)
    argon2_memory_kib: int = Field(default=65_536, ge=8, le=4_194_304)

    rate_limits_enabled: bool = True
    api_requests_per_minute: int = Field(default=600, ge=1)
    max_running_answers_per_user: int = Field(default=5, ge=1)
    login_failures_per_account: int = Field(default=10, ge=1)
    login_failures_per_address: int = Field(default=50, ge=1)
    registrations_per_hour_per_address: int = Field(default=20, ge=1)

    openrouter_api_key: Annotated[SecretStr | None, Field(validate_default=True)] = None
    openrouter_base_url: AnyHttpUrl = AnyHttpUrl("https://openrouter.ai/api/v1")
    openrouter_app_name: str = "WisQu Islamic Chatbot"
    openrouter_app_url: str = "https://wisqu.com"
    openrouter_connect_timeout_seconds: float = Field(default=10.0, gt=0)
    openrouter_first_token_timeout_seconds: float = Field(default=60.0, gt=0)
    openrouter_silence_timeout_seconds: float = Field(default=45.0, gt=0)
    openrouter_total_timeout_seconds: float = Field(default=600.0, gt=0)

    llm_provider: Literal["openrouter"] = "openrouter"
    llm_model: str = Field(default="anthropic/claude-3.5-sonnet", min_length=1)
    llm_free_model: str = "openai/gpt-4o-mini"
    llm_title_model: str = Field(default="openai/gpt-4o-mini", min_length=1)
    llm_summary_model: str = Field(default="openai/gpt-4o-mini", min_length=1)
    auto_title: bool = True
    summarise_context: bool = True
    advanced_model_output_usd_per_m: Decimal = Field(default=Decimal(5), ge=0)
    llm_temperature: float = Field(default=0.7, ge=0, le=2)
    llm_max_tokens: int = Field(default=4096, ge=1, le=1_000_000)
    llm_history_messages: int = Field(default=100, ge=0, le=10_000)
    max_message_chars: int = Field(default=32_000, ge=1)

    prompt_caching_enabled: bool = True
    cache_control_strategy: CacheControlStrategy = CacheControlStrategy.AUTO
    cache_min_tokens: int = Field(default=1024, ge=0)
    cache_keep_alive_usd_per_day: Decimal = Field(default=Decimal(0), ge=0)

    model_routing_enabled: bool = True
    default_fallback_models: CommaList = ("anthropic/claude-3.5-sonnet", "openai/gpt-4o")
    routing_strategy: RoutingStrategy = RoutingStrategy.AUTO
    enable_auto_router: bool = False

    usage_tracking_enabled: bool = True
    track_user_ids: bool = True

    image_generation_enabled: bool = True
    image_generation_models: CommaList = (
        "google/gemini-2.5-flash-image-preview",
        "openai/dall-e-3",
        "black-forest-labs/flux-pro",
        "black-forest-labs/flux-schnell",
    )
    image_storage_type: Literal["database", "local", "s3"] = "database"
    image_storage_path: Path | None = None
    image_s3_endpoint: AnyHttpUrl | None = None
    image_s3_region: str = "us-east-1"
    image_s3_bucket: Annotated[str, Field(validate_default=True)] = ""
    image_s3_access_key_id: Annotated[SecretStr | None, Field(validate_default=True)] = None
    image_s3_secret_access_key: Annotated[SecretStr | None, Field(validate_default=True)] = None
    image_max_size_mb: Decimal = Field(default=Decimal(10), gt=0)

    web_search_enabled: bool = True
    web_search_engine: Literal["auto", "native", "exa", "parallel"] = "auto"
    structured_outputs_enabled: bool = True
    pdf_processing_enabled: bool = True
    audio_processing_enabled: bool = True
    pdf_skip_parsing: bool = False

    @field_validator("cors_origins", "default_fallback_models", "image_generation_models", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "openrouter_api_key",
        "jwt_secret",
        "redis_url",
        "image_storage_path",
        "image_s3_endpoint",
        "image_s3_access_key_id",
        "image_s3_secret_access_key",
        mode="before",
    )
    @classmethod
    def _empty_is_absent(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not value.startswith(
            ("sqlite+aiosqlite://", "postgresql+asyncpg://", "postgresql://", "postgres://")
        ):
            raise ValueError("use postgresql://... or sqlite+aiosqlite:///...")
        return value

    @field_validator("redis_url")
    @classmethod
    def _known_store(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        if not value.get_secret_value().startswith(("redis://", "rediss://", "valkey://", "valkeys://", "unix://")):
            raise ValueError("use redis://host:port/0, rediss:// for TLS, or unix:///path")
        if find_spec("valkey") is None:
            raise ValueError("needs the package valkey: install the extra redis")
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < MIN_JWT_SECRET_BYTES:
            raise ValueError(f"needs at least {MIN_JWT_SECRET_BYTES} bytes")
        return value

    @field_validator("image_s3_bucket", "image_s3_access_key_id", "image_s3_secret_access_key")
    @classmethod
    def _there_for_s3(cls, value: Any, info: ValidationInfo) -> Any:
        if not value and info.data.get("image_storage_type") == "s3":
            raise ValueError("must be set when IMAGE_STORAGE_TYPE=s3")
        return value

    @field_validator("openrouter_api_key", "jwt_secret")
    @classmethod
    def _explicit_in_production(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # Not a model validator: those run only once every field is right, and all mistakes are told at once.
        if value is None and info.data.get("app_env") is AppEnv.PRODUCTION:
            raise ValueError("must be set when APP_ENV=production")
        return value

    @property
    def resolved_database_url(self) -> str:
        """The SQLAlchemy URL with its async driver; a SQLite file in the data folder when none is set."""
        if not self.database_url:
            return f"sqlite+aiosqlite:///{self.data_dir.resolve()}/wisqu.db"
        scheme, _, rest = self.database_url.partition("://")
        return f"postgresql+asyncpg://{rest}" if scheme in ("postgres", "postgresql") else self.database_url

    @property
    def resolved_redis_url(self) -> str | None:
        """The server that processes share their counters on; ``None``: each process counts for itself."""
        return self.redis_url.get_secret_value() if self.redis_url else None

    @property
    def upload_folder(self) -> Path:
        """Where files lie, without a name, while they arrive."""
        return self.data_dir / "uploads"

    @property
    def jwt_secret_file(self) -> Path:
        """Where development keeps the secret it made."""
        return self.data_dir / "jwt_secret"

    def require_jwt_secret(self) -> str:
        """The configured signing secret, else (development only) the one made once and kept in the data folder."""
        if self.jwt_secret is not None:
            return self.jwt_secret.get_secret_value()
        if not self.jwt_secret_file.exists():
            _write_once(self.jwt_secret_file, secrets.token_urlsafe(48))
        secret = self.jwt_secret_file.read_text()
        if len(secret.encode()) < MIN_JWT_SECRET_BYTES:
            raise ConfigurationError(f"{self.jwt_secret_file} is too short for a secret: remove it to get a new one.")
        return secret


def _write_once(path: Path, text: str) -> None:
    """Write a file only its owner reads. Linking it into place keeps the first of several racing writers."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
        file.write(text)
        file.flush()
        with suppress(FileExistsError):
            os.link(file.name, path)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; raise :class:`ConfigurationError` naming every wrong variable (never its value)."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [_explain(item["loc"], item["msg"]) for item in error.errors(include_url=False, include_input=False)]
        raise ConfigurationError("Wrong settings:\n" + "\n".join(f"  - {line}" for line in lines)) from None


def _explain(location: tuple[int | str, ...], message: str) -> str:
    name = ".".join(str(part) for part in location).upper()
    text = message.removeprefix("Value error, ")
    return f"{name}: {text}" if name else text


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
