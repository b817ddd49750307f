import pytest
import torch

from worldline.eval.bench_gpu import captured, kernel_figures, kernel_kind, kernels, laps, timings, why

NAMES = {
    "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNT": "matrix products",
    "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3_nn_align8>(...)": "matrix products",
    "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_execute_segment_k_off_kernel__5x_cublas": "matrix products",
    "void cublasLt::splitKreduce_kernel<32, 16, int, float, __nv_bfloat16, float>(...)": "matrix products",
    "void gemv2T_kernel_val<int, int, __nv_bfloat16, __nv_bfloat16, __nv_bfloat16, float, 128, 16, 4, 4>(...)": "matrix products",
    "triton_tem_fused_mm_3": "matrix products",
    "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<cutlass::bfloat16_t>::Params)": "attention",
    "fmha_cutlassB_bf16_aligned_64x64_k64_sm80(PyTorchMemEffAttention::AttentionBackwardKernel<cutlass::bfloat16_t>::Params)": "attention",
    "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4, cutlass::bfloat16_t>>(...)": "attention",
    "cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma_f16_knob_7_64x128x64_4x1x1_cga1x1x1_kernel0_0": "attention",
    "void (anonymous namespace)::softmax_warp_forward<float, float, float, 4, false, false>(...)": "attention",
    "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float, float, true>(...)": "normalisation",
    "void at::native::(anonymous namespace)::layer_norm_grad_input_kernel_vectorized<float, float, true>(...)": "normalisation",
    "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)>": "copies and casts",
    "void at::native::vectorized_elementwise_kernel<4, at::native::bfloat16_copy_kernel_cuda(at::TensorIteratorBase&)>": "copies and casts",
    "void at::native::(anonymous namespace)::CatArrayBatchedCopy<float, unsigned int, 4, 64, 64>(...)": "copies and casts",
    "Memcpy HtoD (Pageable -> Device)": "copies and casts",
    "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::func_wrapper_t<float>>>(...)": "sums",
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, std::array<char*, 3ul>>(...)": "elementwise",
    "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedOptimizerTensorListMetadata<4>>(...)": "elementwise",
    "triton_per_fused__fused_rms_norm__to_copy_mul_2": "fused by the compiler",
    "void at::native::indexSelectLargeIndex<float, long>(...)": "the rest",
    "aten::addmm": "matrix products",
    "aten::_softmax": "attention",
    "aten::mul": "elementwise",
    "aten::view": "the rest",
}


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_kernels_are_known_by_their_names(name: str, kind: str) -> None:
    assert kernel_kind(name) == kind


def test_shares_are_of_all_kernels_and_idle_is_the_rest_of_the_step() -> None:
    learning = [("nvjet_a", 0.002), ("nvjet_a", 0.002), ("elementwise_kernel", 0.001)]
    updating = [("nvjet_b", 0.002), ("multi_tensor_apply_kernel", 0.001)]
    figures = kernel_figures(learning, updating, repetitions=2, seconds_per_step=0.016, device="cuda", num_named=2)
    assert figures["kernels per step"] == 2.5
    assert figures["ms of kernels per step"] == pytest.approx(4)
    assert figures["share of a step in which the GPU is idle"] == pytest.approx(0.75)
    assert figures["share of the GPU's busy time: matrix products"] == pytest.approx(0.5)
    assert figures["share of the GPU's busy time: elementwise"] == pytest.approx(1 / 8)
    assert figures["share of the GPU's busy time: clipping and optimisers"] == pytest.approx(3 / 8)
    assert figures["share of the GPU's busy time: clipping and optimisers, of it matrix products"] == pytest.approx(1 / 4)
    assert figures["costliest 1"] == "50.0% nvjet_a"
    assert "costliest 3" not in figures
    nothing = kernel_figures([], [], repetitions=1, seconds_per_step=1.0, device="cuda")
    assert nothing == {"profile": "failed: no kernel was seen"}


def test_the_processors_operators_are_seen() -> None:
    matrix = torch.randn(64, 64)
    found = kernels(lambda: (matrix @ matrix).softmax(-1), 3)
    assert sum(name == "aten::mm" for name, _ in found) == 3
    assert sum(name == "aten::_softmax" for name, _ in found) == 3
    assert all(seconds >= 0 for _, seconds in found)
    figures = kernel_figures(found, [], repetitions=3, seconds_per_step=1.0, device="cpu")
    assert figures["share of the processor's time: matrix products"] > 0
    assert not any("GPU" in name for name in figures)


def test_clocks_call_what_they_time() -> None:
    calls: list[str] = []
    assert len(timings(lambda: calls.append("a"), 4)) == 4
    assert calls == ["a"] * 5, "one is not timed"
    calls.clear()
    found = laps({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 3
    assert found.keys() == {"a", "b"}
    assert min(found.values()) >= 0


def test_reasons_are_one_line() -> None:
    assert why(ValueError("first\nsecond")) == "failed: ValueError: first"
    assert why(RuntimeError()) == "failed: RuntimeError: no message"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_nothing_is_captured() -> None:
    with pytest.raises((RuntimeError, AssertionError)):
        captured(lambda: torch.zeros(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_graph_does_what_was_captured() -> None:
    given = torch.ones(3, device="cuda")
    replay, result = captured(lambda: given * 2)
    given.fill_(5)
    replay()
    torch.cuda.synchronize()
    assert result.tolist() == [10, 10, 10]
