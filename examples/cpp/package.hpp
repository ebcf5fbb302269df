// A Parhelion package: one ONNX file from (noise, condition) to response, with a manifest that says all else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace parhelion {

// One number of the condition or of the response.
struct Column {
    std::string name;
    std::string unit;
    bool category = false;
    std::vector<double> values;       // categories: all values,
    std::vector<std::string> labels;  // their names,
    std::vector<double> seen;         // and the values that training saw
    double low = 0, high = 0;         // others: the range that training saw
};

// Momenta: magnitude and slopes have ranges too.
struct Momentum {
    std::size_t columns[3];
    double low[3], high[3];
};

enum class Outside { refuse, clamp, flag };

struct Responses {
    std::vector<float> values;   // (n, responses)
    std::vector<char> outside;   // (n): whether the given condition was outside the domain
    std::size_t count = 0;       // how many were
};

struct Replay {
    std::size_t rows = 0, noise_differs = 0, response_differs = 0;
    double largest = 0;  // largest |difference| / (scale + |value|)
    bool well = false;   // noise equal, responses within the manifest's tolerance
};

// Every function throws std::runtime_error with one sentence for a person.
class Package {
public:
    explicit Package(const std::string& path, int threads = 1);
    ~Package();
    Package(const Package&) = delete;
    Package& operator=(const Package&) = delete;

    const std::vector<Column>& condition() const { return condition_; }
    const std::vector<Column>& response() const { return response_; }
    std::size_t noise_width() const { return noise_width_; }
    const std::string& checksum() const { return checksum_; }

    // Noise of events, (n, noise_width).
    std::vector<float> noise(std::uint64_t seed, const std::vector<std::uint64_t>& event, std::uint32_t stage = 0) const;
    // Responses (n, responses) of conditions (n, conditions) and noise.
    std::vector<float> respond(const std::vector<double>& condition, const std::vector<float>& noise) const;
    // Which numbers of one condition are outside the domain: its columns.
    std::vector<std::size_t> outside(const double* condition) const;
    void clamp(double* condition) const;
    std::string allowed(std::size_t column) const;
    // Noise, guard and network for n events.
    Responses generate(std::vector<double> condition, const std::vector<std::uint64_t>& event, std::uint64_t seed,
                       Outside mode, std::uint32_t stage = 0) const;
    // The golden block that the file carries, once more.
    Replay replay() const;

private:
    struct Engine;
    std::unique_ptr<Engine> engine_;
    std::string path_, checksum_, golden_;
    std::vector<Column> condition_, response_;
    std::vector<Momentum> momenta_;
    std::vector<double> scale_;
    double relative_ = 0, rows_beyond_ = 0;
    std::size_t noise_width_ = 0;

    void read_manifest(const std::string& text);
};

}  // namespace parhelion
