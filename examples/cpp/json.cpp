#include "json.hpp"

#include <cstdlib>
#include <stdexcept>

namespace {
constexpr int deepest = 200;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error("the manifest is not JSON: " + what); }

void append_utf8(std::string& out, unsigned code) {
    if (code < 0x80) {
        out += static_cast<char>(code);
    } else if (code < 0x800) {
        out += static_cast<char>(0xC0 | (code >> 6));
        out += static_cast<char>(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        out += static_cast<char>(0xE0 | (code >> 12));
        out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
    } else {
        out += static_cast<char>(0xF0 | (code >> 18));
        out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
        out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
    }
}
}  // namespace

class Reader {
public:
    explicit Reader(const std::string& text) : text_(text) {}

    Json whole() {
        Json value = read(0);
        space();
        if (at_ != text_.size()) fail("something follows its end");
        return value;
    }

private:
    const std::string& text_;
    std::size_t at_ = 0;

    void space() {
        while (at_ < text_.size() && std::string(" \t\r\n").find(text_[at_]) != std::string::npos) ++at_;
    }
    char peek() {
        space();
        if (at_ >= text_.size()) fail("it ends early");
        return text_[at_];
    }
    void expect(char c) {
        if (peek() != c) fail(std::string("expected ") + c);
        ++at_;
    }
    bool word(const char* given) {
        const std::string w(given);
        if (text_.compare(at_, w.size(), w) != 0) return false;
        at_ += w.size();
        return true;
    }
    unsigned hex4() {
        if (at_ + 4 > text_.size()) fail("it ends early");
        const std::string digits = text_.substr(at_, 4);
        char* end = nullptr;
        const unsigned long code = std::strtoul(digits.c_str(), &end, 16);
        if (end != digits.c_str() + 4) fail("odd \\u");
        at_ += 4;
        return static_cast<unsigned>(code);
    }
    std::string string() {
        expect('"');
        std::string out;
        for (;;) {
            if (at_ >= text_.size()) fail("a text has no end");
            const char c = text_[at_++];
            if (c == '"') return out;
            if (c != '\\') {
                out += c;
                continue;
            }
            if (at_ >= text_.size()) fail("a text has no end");
            const char e = text_[at_++];
            switch (e) {
                case 'n': out += '\n'; break;
                case 't': out += '\t'; break;
                case 'r': out += '\r'; break;
                case 'b': out += '\b'; break;
                case 'f': out += '\f'; break;
                case 'u': {
                    unsigned code = hex4();
                    if (code >= 0xD800 && code < 0xDC00 && word("\\u")) code = 0x10000 + ((code - 0xD800) << 10) + (hex4() - 0xDC00);
                    append_utf8(out, code);
                    break;
                }
                default: out += e;
            }
        }
    }
    Json read(int depth) {
        if (depth > deepest) fail("it is nested too deeply");
        Json value;
        const char c = peek();
        if (c == '{') {
            value.kind_ = Json::Kind::object;
            ++at_;
            while (peek() != '}') {
                const std::string key = (peek(), string());
                expect(':');
                value.object_[key] = read(depth + 1);
                if (peek() != '}') expect(',');
            }
            ++at_;
        } else if (c == '[') {
            value.kind_ = Json::Kind::list;
            ++at_;
            while (peek() != ']') {
                value.list_.push_back(read(depth + 1));
                if (peek() != ']') expect(',');
            }
            ++at_;
        } else if (c == '"') {
            value.kind_ = Json::Kind::text;
            value.text_ = string();
        } else if (word("true")) {
            value.kind_ = Json::Kind::boolean;
            value.boolean_ = true;
        } else if (word("false")) {
            value.kind_ = Json::Kind::boolean;
        } else if (!word("null")) {
            value.kind_ = Json::Kind::number;
            const char* start = text_.c_str() + at_;
            char* end = nullptr;
            value.number_ = std::strtod(start, &end);
            if (end == start) fail("an odd character");
            at_ += static_cast<std::size_t>(end - start);
        }
        return value;
    }
};

Json Json::parse(const std::string& text) { return Reader(text).whole(); }

const Json& Json::at(const std::string& key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) throw std::runtime_error("the manifest has no entry " + key);
    return found->second;
}
const std::vector<Json>& Json::list() const {
    if (kind_ != Kind::list) throw std::runtime_error("the manifest: expected a list");
    return list_;
}
double Json::number() const {
    if (kind_ != Kind::number) throw std::runtime_error("the manifest: expected a number");
    return number_;
}
bool Json::boolean() const {
    if (kind_ != Kind::boolean) throw std::runtime_error("the manifest: expected true or false");
    return boolean_;
}
const std::string& Json::text() const {
    if (kind_ != Kind::text) throw std::runtime_error("the manifest: expected a text");
    return text_;
}
