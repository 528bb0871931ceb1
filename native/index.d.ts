/** The addon that pslock loads by itself where it is installed. What it exports is of use to pslock alone. */
declare const native: object
export = native
