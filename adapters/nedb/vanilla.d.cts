import Vanilla = require('@seald-io/nedb')

/**
 * The library's types. It is CommonJS, but its types tell of a default export, which each `moduleResolution` takes
 * differently when it is imported. This form means the same to all of them.
 */
export type Datastore<Schema> = Vanilla.default<Schema>
export type DatastoreOptions = Vanilla.default.DataStoreOptions
