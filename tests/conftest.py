"""Being here puts this folder on the import path: the references are imported as `import reference_vcm`."""

import os

import pytest

# Compiling is most of the tests' time, and takes a third less without the optimiser's last passes. `=0` tests programs
# as users have them; `.ci/run` does so on the newest jax.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# Tests that repeat a kind, or whose parts others test, at the price of one more large program to compile: they run with
# the slow ones.
REPEATS = """
    test_windows.py::test_some_case_leaves_inputs_out
    test_ramp.py::test_every_array_of_a_stack_has_its_own_ramp[batched]
    test_ramp.py::test_rows_of_one_array_have_ranges_of_their_own
    test_ramp.py::test_a_function_that_turns_counts_up_and_down_in_a_network[silu]
    test_ramp.py::test_other_plain_cells[SimpleCell]
    test_ramp.py::test_beyond_its_span_a_ramp_has_no_slope_but_that_of_its_ends[edges]
    test_ramp.py::test_beyond_its_span_a_ramp_has_no_slope_but_that_of_its_ends[centres]
    test_control.py::test_gradients_through_scan[plain]
    test_control.py::test_gradients_through_library_rules[silu]
    test_control.py::test_gradients_through_library_rules[relu]
    test_control.py::test_gradients_through_library_rules[softplus]
    test_control.py::test_gradients_through_library_rules[logsumexp]
    test_lines.py::test_rows_stacked_over_layers_have_a_scale_for_each
    test_lines.py::test_a_plain_flax_cell_becomes_an_in_memory_one_by_its_hardware[OptimizedLSTMCell]
    test_lines.py::test_a_plain_flax_cell_becomes_an_in_memory_one_by_its_hardware[GRUCell]
    test_lines.py::test_a_plain_flax_cell_becomes_an_in_memory_one_by_its_hardware[SimpleCell]
    test_in_memory.py::test_devices_predicted_errors_and_guard_bands[exact]
    test_in_memory.py::test_fewer_bits_lose_more_and_truncation_is_biased
    test_ensemble.py::test_chunks_equal_the_loop[None]
    test_ensemble.py::test_chunks_equal_the_loop[1]
    test_counter.py::test_ramps_that_differ_under_vmap
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[plane, all at once]
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[transposed]
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[line]
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[cut]
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[groups]
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[dilated]
    test_layers.py::test_ideal_hardware_is_bit_identical_and_8_bits_are_close[linen OptimizedLSTM]
    test_layers.py::test_ideal_hardware_is_bit_identical_and_8_bits_are_close[equinox LSTMCell]
    test_layers.py::test_ideal_hardware_is_bit_identical_and_8_bits_are_close[equinox Conv]
    test_layers.py::test_ideal_hardware_is_bit_identical_and_8_bits_are_close[nnx SimpleCell]
    test_layers.py::test_ideal_hardware_is_bit_identical_and_8_bits_are_close[nnx OptimizedLSTMCell]
    test_layers.py::test_ideal_hardware_is_bit_identical_and_8_bits_are_close[jnp weight left]
    test_row_offsets.py::test_columns_and_errors_shrink_behind_a_converter[convolution]
    test_row_offsets.py::test_columns_and_errors_shrink_behind_a_converter[scan]
    test_row_offsets.py::test_without_converters_the_output_is_the_digital_one[slices]
    test_row_offsets.py::test_without_converters_the_output_is_the_digital_one[scan]
    test_row_offsets.py::test_without_converters_the_output_is_the_digital_one[depthwise]
    test_row_offsets.py::test_without_converters_the_output_is_the_digital_one[stack]
    test_row_offsets.py::test_without_converters_the_output_is_the_digital_one[views]
    test_array_ranges.py::test_the_arrays_of_a_stack_and_of_a_scan
    test_ramp_column.py::test_the_best_of_several_columns
    test_predict.py::test_values_that_meet_again[outer product]
    test_predict.py::test_values_that_meet_again[one column]
    test_predict.py::test_values_that_meet_again[bounds of a channel]
    test_gradients.py::test_gradient_is_that_of_the_dithered_loss[g_max]
    test_gradients.py::test_gradient_is_that_of_the_dithered_loss[adc full scale]
    test_moment_invariants.py::test_channels_can_be_permuted[results]
    test_moment_invariants.py::test_channels_can_be_permuted[hidden]
    test_moment_invariants.py::test_first_order_variance_goes_with_the_square_of_sigma
    test_joint.py::test_spread_of_the_accuracy_over_chips
    test_causal_lm.py::test_pairs_that_look_ahead_are_not_counted
    test_keyword_run.py::test_a_full_disk_is_a_failed_run_that_can_go_on
    test_encoder.py::test_an_empty_row_is_zero_with_a_finite_gradient
    test_vcm_layer.py::test_relative_errors_are_the_published_ones[128-2]
    test_hard_cases.py::test_rows_without_input_leave_gradients_finite[gaussian]
    test_tune.py::test_the_optimum_is_the_optimum[site]
    test_vcm_layer.py::test_relative_errors_are_the_published_ones[128-5]
    test_adc_ranges.py::test_what_cannot_be_chosen_says_so
    test_row_offsets.py::test_a_plan_and_a_chip_keep_their_offsets
    test_row_offsets.py::test_only_the_named_weights_change
    test_ensemble.py::test_chunks_equal_the_loop[13]
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[space]
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[strides]
    test_ramp.py::test_a_marked_function_of_ones_own_ends_in_the_ramp
    test_ramp.py::test_other_plain_cells[GRUCell]
    test_cli.py::test_explain_follows_overrides
    test_gradients.py::test_step_gradient_averages_to_that_of_the_dithered_loss
    test_observe.py::test_a_ramp_disturbs_too
    test_train.py::test_what_is_restored_may_go_on_on_any_device
    test_memory_network.py::test_forward_against_the_equations[dense--inf]
    test_linearised.py::test_variance_of_many_chips[recurrent-programming]
    test_predict.py::test_values_that_meet_again[both sides]
    test_in_memory.py::test_the_table_of_comparator_noise[0.02-0.111-0.128]
    test_vcm_layer.py::test_relative_errors_are_the_published_ones[256-4]
    test_low_rank.py::test_products_of_values
    test_random_products.py::test_a_product_is_still_a_function_of_its_factors[False]
    test_rounding.py::test_codes_of_a_column[0.51-24]
    test_joint.py::test_covariance_of_all_results_is_that_of_many_chips[0.003-0.003]
    test_predict.py::test_devices[clipped]
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[plane]
    test_texts.py::test_splits_of_the_package[20newsgroups-20-11266-7521]
    test_ramp.py::test_a_plain_flax_lstm_has_its_gates_in_the_converter[float]
    test_in_memory.py::test_devices_predicted_errors_and_guard_bands[VCM]
    test_layers.py::test_ideal_hardware_is_bit_identical_and_8_bits_are_close[equinox MLP]
    test_in_memory.py::test_all_bits_without_noise_lose_nothing[round]
    test_array_ranges.py::test_an_axis_of_one_is_common[slices]
    test_gaussian.py::test_moments_of_stuck_cells_are_those_of_many[False]
    test_control.py::test_gradients_through_library_rules[gelu]
    test_table.py::test_samples_equal_the_other_simulators[pcm_hermes]
    test_windows.py::test_inputs_are_encoded_as_their_windows_would_be[depthwise]
    test_control.py::test_both_sides_need_a_bidirectional_array[_inner_gradient_of_scan]
    test_ramp_column.py::test_errors_walk_from_the_start_or_from_the_centre[8]
    test_predict.py::test_convolutions_with_pooling_and_relu
    test_random_products.py::test_scatters_and_updates_are_linear
    test_rounding.py::test_gradients_are_those_of_white_noise
    test_linearised.py::test_converters_are_accounted_for
    test_gradients.py::test_gradient_is_that_of_the_dithered_loss[weight, vcm]
    test_ramp.py::test_errors_are_of_the_ramp_and_common_to_its_neurons
    test_linearised.py::test_variance_of_many_chips[attentive-reading]
    test_prng.py::test_normals_are_the_same_numbers_on_a_cpu_and_an_accelerator[1]
"""


@pytest.hookimpl(tryfirst=True)  # before tests are left out by name or mark
def pytest_collection_modifyitems(items):
    names = {line.strip() for line in REPEATS.strip().splitlines()}
    found = {f"{item.path.name}::{item.name}": item for item in items}
    for name in names & found.keys():
        found[name].add_marker(pytest.mark.slow)
    if len({item.path for item in items}) > 100 and (gone := names - found.keys()):  # everything was collected
        raise pytest.UsageError(f"conftest.REPEATS: no such tests: {sorted(gone)}")
