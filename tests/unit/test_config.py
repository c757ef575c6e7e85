"""Settings: each read under its own name, refused all at once, and secrets kept to themselves."""

import json
import os
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.core.config import ConfigurationError, Settings, load_settings

SECRET = "a-secret-of-more-than-thirty-two-bytes"
KEY = "sk-or-v1-0123456789"

VARIABLES: dict[str, tuple[str, Any]] = {
    "OPENROUTER_API_KEY": ("sk-or-v1-1", "sk-or-v1-1"),
    "OPENROUTER_BASE_URL": ("http://127.0.0.1:9/api/v1", "http://127.0.0.1:9/api/v1"),
    "OPENROUTER_APP_NAME": ("Another App", "Another App"),
    "OPENROUTER_APP_URL": ("https://example.com", "https://example.com"),
    "LLM_PROVIDER": ("openrouter", "openrouter"),
    "LLM_MODEL": ("openai/gpt-4o", "openai/gpt-4o"),
    "LLM_TEMPERATURE": ("0.2", 0.2),
    "LLM_MAX_TOKENS": ("77", 77),
    "PROMPT_CACHING_ENABLED": ("false", False),
    "CACHE_CONTROL_STRATEGY": ("system", "system"),
    "CACHE_MIN_TOKENS": ("2048", 2048),
    "MODEL_ROUTING_ENABLED": ("false", False),
    "DEFAULT_FALLBACK_MODELS": (" a/b, c/d ,,", ("a/b", "c/d")),
    "ROUTING_STRATEGY": ("price", "price"),
    "ENABLE_AUTO_ROUTER": ("true", True),
    "USAGE_TRACKING_ENABLED": ("false", False),
    "TRACK_USER_IDS": ("false", False),
    "IMAGE_GENERATION_ENABLED": ("false", False),
    "IMAGE_GENERATION_MODELS": ("a/b,c/d", ("a/b", "c/d")),
    "IMAGE_STORAGE_TYPE": ("local", "local"),
    "IMAGE_MAX_SIZE_MB": ("2.5", Decimal("2.5")),
    "STRUCTURED_OUTPUTS_ENABLED": ("false", False),
    "PDF_PROCESSING_ENABLED": ("false", False),
    "AUDIO_PROCESSING_ENABLED": ("false", False),
    "PDF_SKIP_PARSING": ("true", True),
}
"""The documented variables: a text that differs from the default, and what it means."""

DOCUMENTED_DEFAULTS = {
    "OPENROUTER_BASE_URL": "https://openrouter.ai/api/v1",
    "OPENROUTER_APP_NAME": "WisQu Islamic Chatbot",
    "OPENROUTER_APP_URL": "https://wisqu.com",
    "LLM_PROVIDER": "openrouter",
    "LLM_MODEL": "anthropic/claude-3.5-sonnet",
    "LLM_TEMPERATURE": 0.7,
    "LLM_MAX_TOKENS": 4096,
    "PROMPT_CACHING_ENABLED": True,
    "CACHE_CONTROL_STRATEGY": "auto",
    "CACHE_MIN_TOKENS": 1024,
    "MODEL_ROUTING_ENABLED": True,
    "DEFAULT_FALLBACK_MODELS": ("anthropic/claude-3.5-sonnet", "openai/gpt-4o"),
    "ROUTING_STRATEGY": "auto",
    "ENABLE_AUTO_ROUTER": False,
    "USAGE_TRACKING_ENABLED": True,
    "TRACK_USER_IDS": True,
    "IMAGE_GENERATION_ENABLED": True,
    # One of these in the documented settings, all four among the documented requests: those work without any setting.
    "IMAGE_GENERATION_MODELS": (
        "google/gemini-2.5-flash-image-preview",
        "openai/dall-e-3",
        "black-forest-labs/flux-pro",
        "black-forest-labs/flux-schnell",
    ),
    "IMAGE_STORAGE_TYPE": "database",
    "IMAGE_MAX_SIZE_MB": 10,
    "STRUCTURED_OUTPUTS_ENABLED": True,
    "PDF_PROCESSING_ENABLED": True,
    "AUDIO_PROCESSING_ENABLED": True,
    "PDF_SKIP_PARSING": False,
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the product is set, and no ``.env`` lies about."""
    for name in {each.upper() for each in Settings.model_fields} & set(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def read(settings: Settings, variable: str) -> Any:
    value = getattr(settings, variable.lower())
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    return value if isinstance(value, str | int | float | tuple | Decimal) else str(value)


def refusal_of(**overrides: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(**overrides)
    return str(refused.value)


class TestVariables:
    # There is one provider yet: that it is read shows where another one is refused.
    @pytest.mark.parametrize("name", sorted(VARIABLES.keys() - {"LLM_PROVIDER"}))
    def test_each_is_read_from_the_environment_under_its_own_name(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text, meaning = VARIABLES[name]
        assert read(load_settings(), name) != meaning
        monkeypatch.setenv(name, text)

        assert read(load_settings(), name) == meaning

    def test_all_are_read_from_a_file(self, tmp_path: Path) -> None:
        lines = [f'{name}="{text}"' for name, (text, _) in VARIABLES.items()]
        (tmp_path / ".env").write_text("\n".join(["# ours", "UNKNOWN_TO_US=1", *lines]))
        settings = load_settings()

        assert {name: read(settings, name) for name in VARIABLES} == {
            name: meaning for name, (_, meaning) in VARIABLES.items()
        }

    def test_the_environment_wins_over_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / ".env").write_text("LLM_MODEL=from/file\n")
        monkeypatch.setenv("LLM_MODEL", "from/environment")

        assert load_settings().llm_model == "from/environment"

    def test_the_documented_values_are_the_defaults(self) -> None:
        settings = load_settings()

        assert {name: read(settings, name) for name in DOCUMENTED_DEFAULTS} == DOCUMENTED_DEFAULTS

    @pytest.mark.parametrize("name", ["CORS_ORIGINS", "DEFAULT_FALLBACK_MODELS", "IMAGE_GENERATION_MODELS"])
    @pytest.mark.parametrize("text", ["", " ", ",", " , "])
    def test_a_list_can_be_empty(self, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, text)

        assert read(load_settings(), name) == ()

    @pytest.mark.parametrize("name", ["JWT_SECRET", "OPENROUTER_API_KEY"])
    @pytest.mark.parametrize("text", ["", "  "])
    def test_an_empty_secret_is_none(self, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, text)

        assert getattr(load_settings(), name.lower()) is None


class TestRefusal:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("LLM_PROVIDER", "another"),
            ("LLM_MODEL", ""),
            ("LLM_TITLE_MODEL", ""),
            ("LLM_TEMPERATURE", "2.1"),
            ("LLM_TEMPERATURE", "nan"),
            ("LLM_MAX_TOKENS", "0"),
            ("LLM_MAX_TOKENS", "many"),
            ("OPENROUTER_BASE_URL", "openrouter.ai"),
            ("OPENROUTER_TOTAL_TIMEOUT_SECONDS", "0"),
            ("CACHE_CONTROL_STRATEGY", "always"),
            ("CACHE_MIN_TOKENS", "-1"),
            ("ROUTING_STRATEGY", "luck"),
            ("PROMPT_CACHING_ENABLED", "perhaps"),
            ("IMAGE_STORAGE_TYPE", "tape"),
            ("IMAGE_MAX_SIZE_MB", "0"),
            ("JWT_SECRET", "short"),
            ("DATABASE_URL", "mysql://localhost/wisqu"),
            ("MAX_BODY_BYTES", "10"),
            ("APP_ENV", "staging"),
            ("LOG_FORMAT", "xml"),
        ],
    )
    def test_a_wrong_value_is_refused_by_name(self, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, text)

        heading, *lines = refusal_of().splitlines()
        assert heading == "Wrong settings:"
        assert len(lines) == 1
        assert lines[0].startswith(f"  - {name}: ")

    def test_all_mistakes_are_told_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wrong = {"LLM_TEMPERATURE": "9", "JWT_SECRET": "short", "ROUTING_STRATEGY": "luck", "APP_ENV": "production"}
        for name, text in wrong.items():
            monkeypatch.setenv(name, text)

        told = {line.removeprefix("  - ").partition(":")[0] for line in refusal_of().splitlines()[1:]}
        assert told == {"LLM_TEMPERATURE", "JWT_SECRET", "ROUTING_STRATEGY", "OPENROUTER_API_KEY"}

    def test_a_bucket_needs_its_name_and_its_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IMAGE_STORAGE_TYPE", "s3")
        monkeypatch.setenv("IMAGE_S3_ENDPOINT", "not an address")

        told = {line.removeprefix("  - ").partition(":")[0] for line in refusal_of().splitlines()[1:]}
        needed = {"IMAGE_S3_BUCKET", "IMAGE_S3_ACCESS_KEY_ID", "IMAGE_S3_SECRET_ACCESS_KEY"}
        assert told == needed | {"IMAGE_S3_ENDPOINT"}

    @pytest.mark.parametrize("name", [each.upper() for each in Settings.model_fields])
    def test_a_refusal_never_repeats_a_value(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, "s3cr3t")
        monkeypatch.setenv("CACHE_MIN_TOKENS", "none")

        assert "s3cr3t" not in refusal_of()


class TestProduction:
    def test_both_secrets_must_be_set(self) -> None:
        told = refusal_of(app_env="production")

        assert "JWT_SECRET: must be set" in told
        assert "OPENROUTER_API_KEY: must be set" in told

    def test_with_both_it_starts(self) -> None:
        settings = load_settings(app_env="production", jwt_secret=SECRET, openrouter_api_key=KEY)

        assert settings.require_jwt_secret() == SECRET

    @pytest.mark.parametrize(("secret", "is_enough"), [("x" * 31, False), ("x" * 32, True), ("م" * 16, True)])
    def test_a_secret_has_at_least_32_bytes(self, secret: str, is_enough: bool) -> None:
        options = {"app_env": "production", "openrouter_api_key": KEY, "jwt_secret": secret}
        if is_enough:
            assert load_settings(**options).require_jwt_secret() == secret
        else:
            assert "at least 32 bytes" in refusal_of(**options)


class TestMadeUpSecret:
    def test_it_is_made_once_and_kept_for_its_owner_alone(self, tmp_path: Path) -> None:
        settings = load_settings(data_dir=tmp_path / "new" / "data")
        secret = settings.require_jwt_secret()

        assert len(secret) >= 32
        assert settings.require_jwt_secret() == secret == load_settings(data_dir=settings.data_dir).require_jwt_secret()
        assert stat.S_IMODE(settings.jwt_secret_file.stat().st_mode) == 0o600
        assert [each.name for each in settings.data_dir.iterdir()] == ["jwt_secret"]

    def test_two_folders_have_two_secrets(self, tmp_path: Path) -> None:
        one, other = (load_settings(data_dir=tmp_path / name).require_jwt_secret() for name in ("a", "b"))

        assert one != other

    def test_racing_processes_agree_on_one(self, tmp_path: Path) -> None:
        program = (
            "import pathlib, sys, time; from app.core.config import load_settings\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
            "print(load_settings(data_dir=pathlib.Path(sys.argv[1])).require_jwt_secret())"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "data")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603
            for _ in range(3)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        secrets = {process.communicate()[0] for process in processes}

        assert len(secrets) == 1
        assert secrets == {(tmp_path / "data" / "jwt_secret").read_text() + "\n"}

    @pytest.mark.parametrize("text", ["", "short"])
    def test_a_file_too_short_for_a_secret_is_refused(self, tmp_path: Path, text: str) -> None:
        settings = load_settings(data_dir=tmp_path)
        settings.jwt_secret_file.write_text(text)

        with pytest.raises(ConfigurationError, match="jwt_secret"):
            settings.require_jwt_secret()


class TestConcealment:
    def test_secrets_are_shown_nowhere(self) -> None:
        settings = load_settings(
            jwt_secret=SECRET,
            openrouter_api_key=KEY,
            database_url="postgresql://wisqu:database-password@localhost/wisqu",
        )

        shown = (
            f"{settings!r} {settings!s} {settings.model_dump_json()} {json.dumps(settings.model_dump(), default=str)}"
        )
        for secret in (SECRET, KEY):
            assert secret not in shown
        assert "database-password" not in f"{settings!r} {settings!s}"


class TestDatabase:
    @pytest.mark.parametrize(
        ("url", "resolved"),
        [
            ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
            ("postgresql://u@h/d", "postgresql+asyncpg://u@h/d"),
            ("postgresql+asyncpg://u@h/d", "postgresql+asyncpg://u@h/d"),
            ("sqlite+aiosqlite:////tmp/x.db", "sqlite+aiosqlite:////tmp/x.db"),
        ],
    )
    def test_a_url_gets_its_async_driver(self, url: str, resolved: str) -> None:
        assert load_settings(database_url=url).resolved_database_url == resolved

    def test_without_a_url_it_is_a_file_in_the_data_folder(self, tmp_path: Path) -> None:
        settings = load_settings(data_dir=tmp_path / "data")

        assert settings.resolved_database_url == f"sqlite+aiosqlite:///{tmp_path.resolve()}/data/wisqu.db"
