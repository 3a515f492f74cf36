/* The largest signed and the largest unsigned of each row's 16-bit numbers, in one go.

   Read as bits, these are the largest and the smallest value of a row of 16-bit floats that has
   values of both signs; see weight_rows.py, which does without this file where it is not compiled. */

#include <stdint.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("avx2", "default")))
#endif
void row_extremes(const int16_t *row, int64_t rows, int64_t columns, int64_t stride,
                  int16_t *highest, uint16_t *lowest)
{
    for (int64_t number = 0; number < rows; number++, row += stride) {
        int16_t high = INT16_MIN;
        uint16_t low = 0;
        for (int64_t column = 0; column < columns; column++) {
            int16_t is = row[column];
            uint16_t as_unsigned = (uint16_t)is;
            high = is > high ? is : high;
            low = as_unsigned > low ? as_unsigned : low;
        }
        highest[number] = high;
        lowest[number] = low;
    }
}
