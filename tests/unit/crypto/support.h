#ifndef TESTS_CRYPTO_SUPPORT_H
#define TESTS_CRYPTO_SUPPORT_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

using Bytes = std::vector<uint8_t>;

/* Bytes of hex text that the test wrote itself: no mistakes expected. */
inline Bytes hex(const std::string &text)
{
    Bytes bytes;

    for (size_t i = 0; i + 1 < text.size(); i += 2)
        bytes.push_back((uint8_t)std::stoi(text.substr(i, 2), nullptr, 16));
    return bytes;
}

inline std::string to_hex(const uint8_t *data, size_t length)
{
    std::string text;
    char digits[3];

    for (size_t i = 0; i < length; i++) {
        snprintf(digits, sizeof(digits), "%02x", data[i]);
        text += digits;
    }
    return text;
}

inline std::string to_hex(const Bytes &bytes)
{
    return to_hex(bytes.data(), bytes.size());
}

inline Bytes bytes_of(const std::string &text)
{
    return Bytes(text.begin(), text.end());
}

inline Bytes concat(std::initializer_list<Bytes> parts)
{
    Bytes all;

    for (const Bytes &part : parts)
        all.insert(all.end(), part.begin(), part.end());
    return all;
}

/* A small generator, so that a failing run can be repeated from its seed. */
struct Random {
    uint64_t state;

    explicit Random(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15u + 1) {}
    uint64_t next()
    {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    }
    size_t below(size_t bound) { return (size_t)(next() % bound); }
    Bytes bytes(size_t length)
    {
        Bytes out(length);

        for (uint8_t &byte : out)
            byte = (uint8_t)(next() >> 24);
        return out;
    }
};

/* One record of a vector file: "name value" lines up to an empty line. */
struct Record {
    std::vector<std::pair<std::string, std::string>> fields;

    std::string text(const std::string &name) const
    {
        for (const auto &field : fields)
            if (field.first == name)
                return field.second;
        return "";
    }
    bool has(const std::string &name) const
    {
        for (const auto &field : fields)
            if (field.first == name)
                return true;
        return false;
    }
    Bytes bytes(const std::string &name) const { return hex(text(name)); }
};

/* All records of tests/data/`name`; lines that start with # are comments. */
inline std::vector<Record> read_records(const std::string &name)
{
    std::ifstream file(std::string(TEST_DATA_DIR) + "/" + name);
    std::vector<Record> records;
    Record record;
    std::string line;

    while (std::getline(file, line)) {
        if (!line.empty() && line[0] == '#')
            continue;
        if (line.empty()) {
            if (!record.fields.empty())
                records.push_back(record);
            record = Record();
            continue;
        }
        size_t space = line.find(' ');
        if (space == std::string::npos)
            record.fields.push_back({line, ""});
        else
            record.fields.push_back({line.substr(0, space), line.substr(space + 1)});
    }
    if (!record.fields.empty())
        records.push_back(record);
    return records;
}

inline Bytes read_file(const std::string &name)
{
    std::ifstream file(std::string(TEST_DATA_DIR) + "/" + name, std::ios::binary);

    return Bytes(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

#endif
