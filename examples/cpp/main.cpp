// Reads conditions from a CSV file, asks a Parhelion package, writes responses to a CSV file.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "package.hpp"

namespace {

const char usage[] =
    "usage: parhelion_host PACKAGE --verify\n"
    "       parhelion_host PACKAGE --input FILE.csv --output FILE.csv [--seed 1] [--stage 0]\n"
    "                      [--outside refuse|clamp|flag] [--threads 1]\n"
    "Columns of the input: the conditions by name, and event_id if the rows are not to be counted from 0.\n";

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

std::vector<std::string> cells(std::string line) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    std::vector<std::string> out;
    std::stringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) {
        const auto first = cell.find_first_not_of(" \t\""), last = cell.find_last_not_of(" \t\"");
        out.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
    }
    if (!line.empty() && line.back() == ',') out.emplace_back();
    return out;
}

std::uint64_t whole(const std::string& text, const std::string& what) {
    char* end = nullptr;
    const unsigned long long value = std::strtoull(text.c_str(), &end, 10);
    if (text.empty() || text[0] == '-' || *end != '\0') fail(what + ": " + text + " is not a whole number");
    return value;
}

struct Table {
    std::vector<double> condition;
    std::vector<std::uint64_t> event;
};

double number(const parhelion::Column& column, const std::string& text, const std::string& where) {
    for (std::size_t i = 0; i < column.labels.size(); ++i)
        if (column.labels[i] == text) return column.values[i];
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0') fail(where + ", " + column.name + ": '" + text + "' is not a number");
    return value;
}

Table read(const parhelion::Package& package, const std::string& path) {
    std::ifstream stream(path);
    if (!stream) fail(path + ": cannot be read");
    std::string line;
    if (!std::getline(stream, line)) fail(path + ": is empty; its first line should name the columns");
    const std::vector<std::string> names = cells(line);
    std::map<std::string, std::size_t> places;
    for (std::size_t i = 0; i < names.size(); ++i) places[names[i]] = i;
    for (const auto& column : package.condition())
        if (places.count(column.name) == 0) fail(path + ": has no column " + column.name + ", which the package needs");
    Table table;
    for (std::size_t row = 0; std::getline(stream, line);) {
        const std::vector<std::string> given = cells(line);
        if (given.empty()) continue;
        const std::string where = path + ", row " + std::to_string(row);
        if (given.size() != names.size())
            fail(where + ": expected " + std::to_string(names.size()) + " cells, got " + std::to_string(given.size()));
        for (const auto& column : package.condition()) table.condition.push_back(number(column, given[places[column.name]], where));
        table.event.push_back(places.count("event_id") ? whole(given[places["event_id"]], where + ", event_id") : row);
        ++row;
    }
    return table;
}

void write(const parhelion::Package& package, const Table& table, const parhelion::Responses& made, bool flag,
           const std::string& path) {
    const std::string partial = path + ".partial";
    {
        std::ofstream stream(partial);
        stream << "event_id";
        for (const auto& column : package.response()) stream << ',' << column.name;
        stream << (flag ? ",outside_domain\n" : "\n");
        const std::size_t width = package.response().size();
        char text[40];
        for (std::size_t i = 0; i < table.event.size(); ++i) {
            stream << table.event[i];
            for (std::size_t j = 0; j < width; ++j) {
                std::snprintf(text, sizeof text, ",%.9g", static_cast<double>(made.values[i * width + j]));
                stream << text;
            }
            if (flag) stream << ',' << int{made.outside[i]};
            stream << '\n';
        }
        stream.flush();
        if (!stream) {
            std::remove(partial.c_str());
            fail(path + ": cannot be written");
        }
    }
    if (std::rename(partial.c_str(), path.c_str()) != 0) fail(path + ": cannot be written");
}

int verify(const parhelion::Package& package) {
    const parhelion::Replay replay = package.replay();
    std::cout << "golden block, " << replay.rows << " rows: noise differs in " << replay.noise_differs
              << ", response is beyond the tolerance in " << replay.response_differs << " (largest relative difference "
              << replay.largest << ")\n";
    return replay.well ? 0 : 1;
}

int run(int count, char** words) {
    if (count < 3) fail(std::string("expected a package and what to do with it\n") + usage);
    const std::string path = words[1];
    std::map<std::string, std::string> options = {{"--seed", "1"}, {"--stage", "0"}, {"--outside", "refuse"}, {"--threads", "1"}};
    bool only_verify = false;
    for (int i = 2; i < count; ++i) {
        const std::string word = words[i];
        if (word == "--verify") {
            only_verify = true;
        } else if ((options.count(word) || word == "--input" || word == "--output") && i + 1 < count) {
            options[word] = words[++i];
        } else {
            fail(word + ": no such option, or its value is missing\n" + usage);
        }
    }
    const std::map<std::string, parhelion::Outside> modes = {
        {"refuse", parhelion::Outside::refuse}, {"clamp", parhelion::Outside::clamp}, {"flag", parhelion::Outside::flag}};
    if (modes.count(options["--outside"]) == 0) fail("--outside " + options["--outside"] + ": expected refuse, clamp or flag");
    const parhelion::Outside mode = modes.at(options["--outside"]);
    const parhelion::Package package(path, static_cast<int>(whole(options["--threads"], "--threads")));
    if (only_verify) return verify(package);
    if (options.count("--input") == 0 || options.count("--output") == 0) fail(std::string("--input and --output are needed\n") + usage);
    const Table table = read(package, options["--input"]);
    const std::uint64_t seed = whole(options["--seed"], "--seed"), stage = whole(options["--stage"], "--stage");
    const parhelion::Responses made = package.generate(table.condition, table.event, seed, mode, static_cast<std::uint32_t>(stage));
    write(package, table, made, mode == parhelion::Outside::flag, options["--output"]);
    std::cout << table.event.size() << " rows, " << made.count << " outside the domain (" << options["--outside"] << ")\n";
    return 0;
}

}  // namespace

int main(int count, char** words) {
    try {
        return run(count, words);
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << '\n';
        return 2;
    }
}
