// Noise keyed by (seed, event id, stage): the same bits as in Python, C and on any machine.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "normal_table.hpp"

namespace parhelion {

// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, SC11, section 3.3).
inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::uint32_t k0, std::uint32_t k1) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0], p1 = std::uint64_t{0xCD9E8D57u} * c[2];
        c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
             static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

// Normal quantile of (w + 1/2) / 2^32: a table of cubic polynomials, by exponent and first bits of the tail's size.
inline float normal_of_word(std::uint32_t w) {
    const double d = 2.0 * static_cast<double>(w) + (1.0 - 4294967296.0);
    double t = 4294967296.0 - std::fabs(d);
    std::uint64_t bits;
    std::memcpy(&bits, &t, sizeof bits);
    const double* a = normal_table[(bits >> 47) - (1023u << 5)];
    bits = ((bits & ((std::uint64_t{1} << 47) - 1)) << 5) | (std::uint64_t{1023} << 52);
    std::memcpy(&t, &bits, sizeof t);
    return static_cast<float>((((a[3] * t + a[2]) * t + a[1]) * t + a[0]) * d);
}

// `width` standard normal numbers of one event.
inline void normal(std::uint64_t seed, std::uint64_t event, std::uint32_t stage, std::size_t width, float* out) {
    for (std::size_t block = 0; 4 * block < width; ++block) {
        const auto words = philox({static_cast<std::uint32_t>(event), static_cast<std::uint32_t>(event >> 32), stage,
                                   static_cast<std::uint32_t>(block)},
                                  static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
        for (std::size_t i = 0; i < 4 && 4 * block + i < width; ++i) out[4 * block + i] = normal_of_word(words[i]);
    }
}

}  // namespace parhelion
