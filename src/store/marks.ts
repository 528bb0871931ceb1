/** The table of the marks that the commits of stages leave in a store for a moment. */
export const MARKS = '$stages'
