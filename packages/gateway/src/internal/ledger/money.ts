/** Money in whole units of 10^-12, and as the decimals that people read. */
import * as BigDecimal from "effect/BigDecimal"

const scale = 12

/** How many units one of a currency has. */
export const unit = 10 ** scale

export const format = (units: bigint): string => BigDecimal.format(BigDecimal.make(units, scale))
