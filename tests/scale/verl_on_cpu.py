"""What verl 0.9 lacks to run on a machine without an accelerator: a platform called cpu, and a rollout server that calls ``generate``.

For tests only. Every process of verl imports it through ``VERL_USE_EXTERNAL_MODULES=verl_on_cpu``; see `environment` in run_verl.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
import verl.utils.distributed
import verl.utils.fsdp_utils
from verl.plugin.platform import PlatformBase, PlatformRegistry
from verl.workers.rollout.base import _ROLLOUT_REGISTRY, BaseRollout
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

ROLLOUT = "generate_on_cpu"

# ---- platform


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


class _Device(types.ModuleType):
    """``torch.cpu``, with the functions of ``torch.cuda`` that verl calls besides."""

    _EXTRA: dict[str, Any] = {  # noqa: RUF012
        **dict.fromkeys(("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"), _constant(0)),
        **dict.fromkeys(("empty_cache", "ipc_collect", "reset_peak_memory_stats", "set_device", "synchronize"), _constant(None)),
        **dict.fromkeys(("manual_seed", "manual_seed_all"), _constant(None)),
        "mem_get_info": _constant((2**33, 2**33)),
        "get_device_name": _constant("CPU"),
        "device_count": _constant(1),
        "current_device": _constant("cpu"),
        "get_rng_state": torch.get_rng_state,
        "set_rng_state": torch.set_rng_state,
    }

    def __getattr__(self, name: str) -> Any:
        return self._EXTRA[name] if name in self._EXTRA else getattr(torch.cpu, name)


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    """Chosen by ``VERL_PLATFORM=cpu`` alone. A "GPU" is a Ray resource that the test makes up."""

    _device = _Device("verl_on_cpu_device")
    device_name = property(_constant("cpu"))
    vendor_name = property(_constant("cpu"))
    device_module = property(lambda self: self._device)
    is_available = _constant(True)
    is_platform_available = _constant(False)
    current_device = _constant("cpu")
    device_count = _constant(1)
    set_device = synchronize = manual_seed_all = set_allocator_settings = empty_cache = _constant(None)
    get_device_capability = _constant((None, None))
    communication_backend_name = _constant("gloo")
    visible_devices_envvar = _constant("CUDA_VISIBLE_DEVICES")
    ray_resource_name = _constant("GPU")
    ray_noset_envvars = _constant([])
    is_ipc_supported = _constant(False)
    profiler_start = profiler_stop = cudart = _constant(None)

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield


def _without_accelerator() -> None:
    """verl asks for the process group "cpu:gloo,cpu:gloo", which torch rejects, and pins the reference policy's memory."""
    start_group = verl.utils.distributed.initialize_global_process_group_ray
    offload = verl.utils.fsdp_utils.CPUOffloadPolicy
    verl.utils.distributed.initialize_global_process_group_ray = lambda timeout_second=None, backend=None: start_group(
        timeout_second=timeout_second, backend=backend or "gloo"
    )
    verl.utils.fsdp_utils.CPUOffloadPolicy = lambda pin_memory=True: offload(pin_memory=False)


_without_accelerator()

# ---- rollout


class _Server:
    """Answers requests in batches, with transformers' ``generate``; runs in a Ray actor."""

    def __init__(self, path: str, longest: int) -> None:
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.longest, self.version = longest, 0
        self.end = self.model.generation_config.eos_token_id
        self.waiting: list[tuple[list[int], dict[str, Any], asyncio.Future[TokenOutput]]] = []
        self.work: asyncio.Task[None] | None = None

    async def ready(self) -> bool:
        return True

    async def load(self, weights: dict[str, torch.Tensor], version: int | None) -> None:
        """Take over new weights; a name that the model does not know is an error."""
        found = self.model.load_state_dict(weights, strict=False)
        assert not found.unexpected_keys, found
        assert set(found.missing_keys) <= {"lm_head.weight"}, found  # tied to the embeddings in small models
        self.version = self.version if version is None else version

    async def generate(self, request_id: str, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any) -> TokenOutput:
        future: asyncio.Future[TokenOutput] = asyncio.get_running_loop().create_future()
        self.waiting.append((list(prompt_ids), dict(sampling_params), future))
        if self.work is None or self.work.done():
            self.work = asyncio.create_task(self._answer())
        return await future

    async def _answer(self) -> None:
        while self.waiting:
            await asyncio.sleep(0.02)  # let a batch come together
            batch, self.waiting = self.waiting, []
            width = max(len(prompt) for prompt, _, _ in batch)
            ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt, _, _ in batch])
            attention = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt, _, _ in batch])
            temperature = batch[0][1].get("temperature", 1.0)
            how = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {"do_sample": False}
            with torch.no_grad():
                out = self.model.generate(
                    ids, attention_mask=attention, max_new_tokens=self.longest, pad_token_id=0, eos_token_id=self.end, **how
                )
            for (_, _, future), row in zip(batch, out[:, width:].tolist(), strict=True):
                ended = self.end in row
                tokens = row[: row.index(self.end) + 1] if ended else row
                reason = "completed" if ended else "length"
                future.set_result(TokenOutput(token_ids=tokens, stop_reason=reason, extra_fields={"global_steps": self.version}))

    async def _nothing(self, *args: Any, **kwargs: Any) -> None:
        """Sleeping, waking, caches and profiles mean nothing here."""

    sleep = wake_up = clear_kv_cache = release_kv_cache = resume_kv_cache = _nothing
    abort_all_requests = resume_generation = start_profile = stop_profile = _nothing


def _server_name(rank: int) -> str:
    return f"{ROLLOUT}_{rank}"


class _Replica(RolloutReplica):
    async def launch_servers(self) -> None:
        import ray

        name = _server_name(self.replica_rank)
        server = ray.remote(num_cpus=0)(_Server).options(name=name, max_concurrency=1000)
        self._server_handle = server.remote(self.model_config.path, self.config.response_length)
        await self._server_handle.ready.remote()
        self.servers = [self._server_handle]
        self._server_address = name


class ServerAdapter(BaseRollout):
    """The side of a training worker: hands its weights to the server of its rank."""

    def __init__(self, config: Any, model_config: Any, device_mesh: Any, replica_rank: int = -1) -> None:
        super().__init__(config, model_config, device_mesh)
        self.rank = int(os.environ["RANK"])

    async def resume(self, tags: Any) -> None: ...

    async def release(self) -> None: ...

    async def update_weights(self, weights: Any, global_steps: int | None = None, **_: Any) -> None:
        import ray

        state = {name: tensor.detach().cpu().float() for name, tensor in weights}
        await ray.get_actor(_server_name(self.rank)).load.remote(state, global_steps)


_ROLLOUT_REGISTRY[(ROLLOUT, "async")] = f"{__name__}.ServerAdapter"
RolloutReplicaRegistry.register(ROLLOUT, lambda: _Replica)
