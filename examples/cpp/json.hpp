// A reader of JSON: enough for a package's manifest.
#pragma once

#include <map>
#include <string>
#include <vector>

class Json {
public:
    enum class Kind { null, boolean, number, text, list, object };

    // Throws std::runtime_error where the text is not JSON.
    static Json parse(const std::string& text);

    Kind kind() const { return kind_; }
    bool has(const std::string& key) const { return object_.count(key) > 0; }
    // Throw std::runtime_error, with the key or kind that is missing.
    const Json& at(const std::string& key) const;
    const std::vector<Json>& list() const;
    double number() const;
    bool boolean() const;
    const std::string& text() const;

private:
    friend class Reader;
    Kind kind_ = Kind::null;
    bool boolean_ = false;
    double number_ = 0;
    std::string text_;
    std::vector<Json> list_;
    std::map<std::string, Json> object_;
};
