"""What bounds the parts of the service, from its settings."""

from __future__ import annotations

from taskservice.actors.archiver import ArchiverOptions
from taskservice.actors.commits import CommitOptions
from taskservice.actors.dispatcher_options import DispatcherOptions
from taskservice.actors.keeper import KeeperOptions
from taskservice.config import Settings
from taskservice.gateway.settings import GatewaySettings


def dispatcher_options(settings: Settings) -> DispatcherOptions:
    """The dispatcher's limits, from the settings."""
    commits = CommitOptions(
        interval_s=settings.commit_interval_ms / 1000,
        bytes_max=settings.commit_bytes_max,
        lazy_s=settings.commit_lazy_ms / 1000,
    )
    return DispatcherOptions(
        commit_timeout_s=settings.commit_timeout_s, heartbeat_s=settings.journal_check_s, commits=commits
    )


def keeper_options(settings: Settings) -> KeeperOptions:
    """When checkpoints are made, from the settings."""
    return KeeperOptions(
        wal_bytes_max=settings.table_log_bytes_max,
        interval_s=settings.checkpoint_interval_s,
        journal_bytes_max=settings.checkpoint_journal_bytes_max,
    )


def archiver_options(settings: Settings) -> ArchiverOptions:
    """How history is made, from the settings."""
    return ArchiverOptions(
        file_tasks_max=settings.history_file_tasks_max,
        file_bytes_max=settings.history_file_bytes_max,
        turn_tasks_max=settings.history_turn_tasks_max,
        interval_s=settings.history_interval_s,
    )


def gateway_settings(settings: Settings) -> GatewaySettings:
    """The gateway's limits, from the settings of the same names."""
    return GatewaySettings(
        payload_bytes_max=settings.payload_bytes_max,
        inline_bytes_max=settings.inline_bytes_max,
        value_timeout_s=settings.value_timeout_s,
        body_bytes_max=settings.body_bytes_max,
        batch_tasks_max=settings.batch_tasks_max,
        wait_s_max=settings.wait_s_max,
        list_limit_max=settings.list_limit_max,
        callback_private_networks=settings.callback_private_networks,
        metrics_open=settings.metrics_open,
        code_bytes_max=settings.code_bytes_max,
        code_unpacked_bytes_max=settings.code_unpacked_bytes_max,
    )
