#include "package.hpp"

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "json.hpp"
#include "noise.hpp"
#include "sha256.hpp"

namespace parhelion {
namespace {

constexpr int known_version = 1;
constexpr double rounding = 1e-9;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

std::string shown(double x) {
    std::ostringstream out;
    out << x;
    return out.str();
}

std::string read_file(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream) fail(path + ": cannot be read");
    return std::string(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
}

std::string decode64(const std::string& text) {
    static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    std::uint32_t word = 0;
    int bits = 0;
    for (const char c : text) {
        if (c == '=') break;
        const auto place = digits.find(c);
        if (place == std::string::npos) fail("the golden block is damaged");
        word = (word << 6) | static_cast<std::uint32_t>(place);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out += static_cast<char>((word >> bits) & 0xFF);
        }
    }
    return out;
}

// Little-endian numbers, as on every machine that ONNX Runtime is built for.
template <typename T>
std::vector<T> numbers(const Json& encoded, const char* kind) {
    if (encoded.at("dtype").text() != kind) fail("the golden block is damaged");
    const std::string bytes = decode64(encoded.at("data").text());
    std::vector<T> out(bytes.size() / sizeof(T));
    std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
    return out;
}

std::vector<double> doubles(const Json& list) {
    std::vector<double> out;
    for (const Json& entry : list.list()) out.push_back(entry.number());
    return out;
}

std::vector<Column> columns(const Json& fields) {
    std::vector<Column> out;
    for (const Json& field : fields.list()) {
        Column column;
        column.unit = field.at("unit").text();
        if (field.has("values")) column.values = doubles(field.at("values"));
        if (field.has("labels"))
            for (const Json& label : field.at("labels").list()) column.labels.push_back(label.text());
        std::size_t width = 1;
        const std::vector<double> shape = doubles(field.at("shape"));
        for (const double n : shape) width *= static_cast<std::size_t>(n);
        for (std::size_t i = 0; i < width; ++i) {
            column.name = field.at("name").text() + (shape.empty() ? "" : "[" + std::to_string(i) + "]");
            out.push_back(column);
        }
    }
    return out;
}

}  // namespace

struct Package::Engine {
    Ort::Env env{ORT_LOGGING_LEVEL_ERROR, "parhelion"};
    Ort::Session session{nullptr};
    bool takes_noise = false, takes_condition = false;
    Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);

    std::string metadata(const char* key) const {
        Ort::AllocatorWithDefaultOptions allocator;
        const auto found = session.GetModelMetadata().LookupCustomMetadataMapAllocated(key, allocator);
        return found ? std::string(found.get()) : std::string();
    }
};

Package::Package(const std::string& path, int threads) : engine_(new Engine), path_(path) {
    const std::string bytes = read_file(path);
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(threads);
    options.SetInterOpNumThreads(1);
    try {
        engine_->session = Ort::Session(engine_->env, bytes.data(), bytes.size(), options);
    } catch (const Ort::Exception&) {
        fail(path + ": this is not an ONNX file, or it is damaged");
    }
    Ort::AllocatorWithDefaultOptions allocator;
    for (std::size_t i = 0; i < engine_->session.GetInputCount(); ++i) {
        const std::string name = engine_->session.GetInputNameAllocated(i, allocator).get();
        engine_->takes_noise = engine_->takes_noise || name == "noise";
        engine_->takes_condition = engine_->takes_condition || name == "condition";
    }
    checksum_ = engine_->metadata("parhelion.checksum");
    const std::string manifest = engine_->metadata("parhelion.manifest");
    golden_ = engine_->metadata("parhelion.golden");
    if (checksum_.size() != 64 || manifest.empty() || golden_.empty())
        fail(path + ": this is not a Parhelion package (its metadata has no manifest, golden block or checksum)");
    // In the file the digits follow their key, the tag of a map entry's value and their number.
    const std::string before = std::string("parhelion.checksum\x12") + '@';
    std::string blank = bytes;
    const std::string::size_type place = blank.find(before);
    if (place != std::string::npos) blank.replace(place + before.size(), 64, 64, '0');
    if (place == std::string::npos || sha256(blank) != checksum_)
        fail(path + ": was changed after it was written (its checksum differs); get the package again");
    try {
        read_manifest(manifest);
    } catch (const std::runtime_error& error) {
        fail(path + ": " + error.what());
    }
}

Package::~Package() = default;

void Package::read_manifest(const std::string& text) {
    const Json manifest = Json::parse(text);
    const double version = manifest.at("version").number();
    if (version > known_version) fail("its manifest is of a newer version; build this host anew");
    if (version < known_version) fail("its manifest is of an older version; export it again");
    condition_ = columns(manifest.at("condition"));
    response_ = columns(manifest.at("response"));
    const Json& noise = manifest.at("noise");
    if (noise.at("generator").text() != "philox4x32-10" || noise.at("map").text() != "normal-table")
        fail("it wants noise that this host does not have; build this host anew");
    noise_width_ = static_cast<std::size_t>(noise.at("width").number());
    const Json& tolerance = manifest.at("tolerance");
    relative_ = tolerance.at("relative").number();
    rows_beyond_ = tolerance.at("rows_beyond").number();
    scale_ = doubles(tolerance.at("scale"));
    const Json& domain = manifest.at("domain");
    const std::vector<Json>& ranges = domain.at("columns").list();
    if (ranges.size() != condition_.size() || scale_.size() != response_.size())
        fail("its manifest contradicts itself about its columns");
    const double infinity = std::numeric_limits<double>::infinity();
    for (std::size_t j = 0; j < condition_.size(); ++j) {
        Column& column = condition_[j];
        column.category = ranges[j].has("values");
        if (column.category) column.seen = doubles(ranges[j].at("values"));
        column.low = ranges[j].has("low") ? ranges[j].at("low").number() : -infinity;
        column.high = ranges[j].has("high") ? ranges[j].at("high").number() : infinity;
    }
    for (const Json& entry : domain.at("momenta").list()) {
        Momentum momentum{};
        const std::vector<double> place = doubles(entry.at("columns")), a = doubles(entry.at("low")), b = doubles(entry.at("high"));
        if (place.size() != 3 || a.size() != 3 || b.size() != 3) fail("its manifest's momenta are not triples");
        for (std::size_t i = 0; i < 3; ++i) {
            momentum.columns[i] = static_cast<std::size_t>(place[i]);
            if (momentum.columns[i] >= condition_.size()) fail("its manifest's momenta name no column");
            momentum.low[i] = a[i];
            momentum.high[i] = b[i];
        }
        momenta_.push_back(momentum);
    }
}

std::vector<float> Package::noise(std::uint64_t seed, const std::vector<std::uint64_t>& event, std::uint32_t stage) const {
    std::vector<float> out(event.size() * noise_width_);
    for (std::size_t i = 0; i < event.size(); ++i) normal(seed, event[i], stage, noise_width_, out.data() + i * noise_width_);
    return out;
}

std::vector<float> Package::respond(const std::vector<double>& condition, const std::vector<float>& noise) const {
    const std::size_t n = condition.size() / condition_.size();
    std::vector<float> out(n * response_.size());
    if (n == 0) return out;
    const std::int64_t rows = static_cast<std::int64_t>(n);
    const std::int64_t shapes[3][2] = {{rows, static_cast<std::int64_t>(noise_width_)},
                                       {rows, static_cast<std::int64_t>(condition_.size())},
                                       {rows, static_cast<std::int64_t>(response_.size())}};
    // ONNX Runtime takes inputs through pointers that could be written to, but does not write. A graph without noise, or
    // without conditions, does not have that input.
    std::vector<Ort::Value> inputs;
    std::vector<const char*> names;
    if (engine_->takes_noise) {
        names.push_back("noise");
        inputs.push_back(Ort::Value::CreateTensor<float>(engine_->memory, const_cast<float*>(noise.data()), noise.size(), shapes[0], 2));
    }
    if (engine_->takes_condition) {
        names.push_back("condition");
        inputs.push_back(Ort::Value::CreateTensor<double>(engine_->memory, const_cast<double*>(condition.data()), condition.size(), shapes[1], 2));
    }
    Ort::Value output = Ort::Value::CreateTensor<float>(engine_->memory, out.data(), out.size(), shapes[2], 2);
    const char* answer[1] = {"response"};
    engine_->session.Run(Ort::RunOptions{nullptr}, names.data(), inputs.data(), inputs.size(), answer, &output, 1);
    return out;
}

std::vector<std::size_t> Package::outside(const double* condition) const {
    std::vector<char> odd(condition_.size());
    for (std::size_t j = 0; j < condition_.size(); ++j) {
        const Column& column = condition_[j];
        const double x = condition[j];
        // Written so that NaN is outside.
        odd[j] = column.category ? std::find(column.seen.begin(), column.seen.end(), x) == column.seen.end()
                                 : !(x >= column.low && x <= column.high);
    }
    for (const Momentum& momentum : momenta_) {
        const double px = condition[momentum.columns[0]], py = condition[momentum.columns[1]], pz = std::max(condition[momentum.columns[2]], 1e-30);
        const double seen[3] = {0.5 * std::log(px * px + py * py + pz * pz), px / pz, py / pz};
        for (std::size_t i = 0; i < 3; ++i) {
            const double slack = rounding * (momentum.high[i] - momentum.low[i]);
            if (!(seen[i] >= momentum.low[i] - slack && seen[i] <= momentum.high[i] + slack)) odd[momentum.columns[i]] = 1;
        }
    }
    std::vector<std::size_t> found;
    for (std::size_t j = 0; j < odd.size(); ++j)
        if (odd[j]) found.push_back(j);
    return found;
}

void Package::clamp(double* condition) const {
    for (std::size_t j = 0; j < condition_.size(); ++j)
        if (!condition_[j].category && !std::isnan(condition[j]))
            condition[j] = std::min(std::max(condition[j], condition_[j].low), condition_[j].high);
}

std::string Package::allowed(std::size_t j) const {
    const Column& column = condition_[j];
    if (!column.category) return shown(column.low) + " to " + shown(column.high) + (column.unit.empty() ? "" : " " + column.unit);
    std::string out = "one of";
    for (std::size_t i = 0; i < column.seen.size(); ++i) out += (i ? ", " : " ") + shown(column.seen[i]);
    return out;
}

Responses Package::generate(std::vector<double> condition, const std::vector<std::uint64_t>& event, std::uint64_t seed,
                            Outside mode, std::uint32_t stage) const {
    const std::size_t width = condition_.size(), n = event.size();
    if (condition.size() != n * width) fail("conditions and event ids are of different lengths");
    Responses made;
    made.outside.assign(n, 0);
    std::string first;
    const auto say = [&](std::size_t i, std::size_t j, const double* row) {
        return "event " + std::to_string(event[i]) + ": " + condition_[j].name + " is " + shown(row[j]) + ", the package knows " + allowed(j);
    };
    for (std::size_t i = 0; i < n; ++i) {
        double* row = condition.data() + i * width;
        const std::vector<std::size_t> odd = outside(row);
        if (odd.empty()) continue;
        made.outside[i] = 1;
        if (made.count++ == 0) first = say(i, odd[0], row);
        if (mode != Outside::clamp) continue;
        clamp(row);
        const std::vector<std::size_t> still = outside(row);
        if (!still.empty()) fail(say(i, still[0], row) + ", and clamping cannot help");
    }
    if (made.count > 0 && mode == Outside::refuse)
        fail(std::to_string(made.count) + " of " + std::to_string(n) + " rows are outside the domain (" + first +
             "); clamp or flag them with --outside");
    made.values = respond(condition, noise(seed, event, stage));
    return made;
}

Replay Package::replay() const {
    const Json golden = Json::parse(golden_);
    const std::vector<std::uint64_t> event = numbers<std::uint64_t>(golden.at("event_id"), "<i8");
    const std::vector<double> condition = numbers<double>(golden.at("condition"), "<f8");
    const std::vector<float> expected_noise = numbers<float>(golden.at("noise"), "<f4");
    const std::vector<float> expected = numbers<float>(golden.at("response"), "<f4");
    const std::size_t n = event.size();
    if (condition.size() != n * condition_.size() || expected_noise.size() != n * noise_width_ || expected.size() != n * response_.size())
        fail(path_ + ": the golden block is damaged");
    const std::vector<float> made_noise = noise(std::stoull(golden.at("seed").text()), event,
                                                static_cast<std::uint32_t>(golden.at("stage").number()));
    const std::vector<float> made = respond(condition, made_noise);
    Replay out;
    out.rows = n;
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t k = i * noise_width_;
        out.noise_differs += std::memcmp(made_noise.data() + k, expected_noise.data() + k, noise_width_ * sizeof(float)) != 0;
        bool close = true;
        for (std::size_t j = 0; j < response_.size(); ++j) {
            const double wanted = expected[i * response_.size() + j];
            const double relative = std::fabs(made[i * response_.size() + j] - wanted) / (scale_[j] + std::fabs(wanted));
            // Written so that NaN is beyond.
            close = close && relative <= relative_;
            out.largest = std::max(out.largest, relative);
        }
        out.response_differs += !close;
    }
    out.well = out.noise_differs == 0 && static_cast<double>(out.response_differs) <= rows_beyond_ * static_cast<double>(n);
    return out;
}

}  // namespace parhelion
