// Enough of CUDA C++ to run elementwise kernels on the CPU, one thread after the other.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __launch_bounds__(threads)
#define __restrict__ __restrict

struct Index3 {
    unsigned x, y, z;
};
static thread_local Index3 blockIdx, threadIdx, blockDim, gridDim;

using std::isnan;

static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static inline double __longlong_as_double(long long bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <class... P, std::size_t... I>
static void run(void (*kernel)(P...), unsigned grid, unsigned block, void** arguments,
                std::index_sequence<I...>) {
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    for (unsigned b = 0; b < grid; ++b) {
        for (unsigned t = 0; t < block; ++t) {
            blockIdx = {b, 0, 0};
            threadIdx = {t, 0, 0};
            kernel(*static_cast<std::remove_const_t<P>*>(arguments[I])...);
        }
    }
}

template <class... P>
static void launch(void (*kernel)(P...), unsigned grid, unsigned block, void** arguments) {
    run(kernel, grid, block, arguments, std::index_sequence_for<P...>{});
}

// launch_k(grid, block, pointers to the arguments), as a driver takes them.
#define LAUNCHER(kernel)                                                                     \
    extern "C" void launch_##kernel(unsigned grid, unsigned block, void** arguments) {       \
        launch(kernel, grid, block, arguments);                                              \
    }
