/** One plot: what is drawn, what it shows in a sentence, and the numbers behind it. */
export interface Plot {
  /** Under the plot, and for those who cannot see it. */
  readonly finding: string
  /** Undefined where there is nothing to draw: the finding says why. */
  readonly drawing: Drawing | undefined
  readonly table: NumberTable
}

export interface NumberTable {
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/** What the page's script (`browser/draw.js`) makes a chart of. Times are milliseconds from the beginning. */
export type Drawing =
  | {
      readonly kind: 'throughput'
      /** Where each step begins, and its height. */
      readonly points: readonly Point[]
      /** Where the last step ends. */
      readonly endMs: number
      /** The ends of the scales: two plots that are side by side have the same. */
      readonly untilMs: number
      readonly most: number
    }
  | {
      readonly kind: 'waits'
      /** Of each step from one bound to the next. */
      readonly shares: readonly number[]
      readonly bounds: readonly number[]
      readonly marks: readonly { readonly name: string; readonly ms: number }[]
      readonly most: number
    }
  | {
      readonly kind: 'lanes'
      readonly lanes: readonly string[]
      readonly fromMs: number
      /** The end of the scale: two plots that are side by side show as much time. */
      readonly untilMs: number
      readonly bars: readonly { readonly what: BarKind; readonly spans: readonly Span[] }[]
      readonly kills: readonly { readonly lane: string; readonly ms: number }[]
    }
  | {
      readonly kind: 'fairness'
      readonly workers: readonly string[]
      readonly early: readonly number[]
      readonly late: readonly number[]
      readonly most: number
    }

export interface Point {
  readonly x: number
  readonly y: number
}

export type BarKind = 'waiting' | 'shared' | 'exclusive' | 'operation' | 'stopped'

export interface Span {
  readonly lane: string
  readonly fromMs: number
  readonly toMs: number
}
