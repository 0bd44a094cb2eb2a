"""Configuration: one TOML file, the environment over it, and the keys of the installation.

    schema        every key once: name, type, range, default, sentence
    rest_schema, delivery_schema, svc_schema
                  the keys of the REST face, of deliveries and of the svc face
    ranges        types that several keys share
    settings      the schema as a table, one row a key
    endpoint      HOST:PORT
    secret        keys of the installation, and words of others; their repr shows neither
    values        one value into its key's type, and the words for what was wanted
    environment   OTP_SERVER_<SECTION>__<KEY> and ..._FILE
    limits        windows and the length rule, in the units of the core
    checks, rest_checks, svc_checks, provider_checks
                  what keys must hold between them, and what production refuses
    providers     the options of the providers of messages
    finding       what a check finds
    load          file, environment, defaults -> Config, or one error with every problem
    render        the commented default file
    keys          the installation's keys: configured, read, or made on a development start
    problem       a problem as the operator reads it

``load`` and ``keys`` read files and block: call them before the event loop runs.
"""

from otp_server.config.endpoint import Endpoint
from otp_server.config.keys import PURPOSES, InstallationKeys, ensure_data_dir, resolve_keys
from otp_server.config.limits import code_policy, windows_ms
from otp_server.config.load import load_config
from otp_server.config.problem import InvalidConfigError, Problem
from otp_server.config.providers import provider_options
from otp_server.config.render import render_default_config
from otp_server.config.schema import Config
from otp_server.config.svc_checks import svc_warnings

__all__ = [
    "PURPOSES",
    "Config",
    "Endpoint",
    "InstallationKeys",
    "InvalidConfigError",
    "Problem",
    "code_policy",
    "ensure_data_dir",
    "load_config",
    "provider_options",
    "render_default_config",
    "resolve_keys",
    "svc_warnings",
    "windows_ms",
]
