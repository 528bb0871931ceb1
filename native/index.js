// A binary that was built here, or else the one that came with the package for this system.
module.exports = require('node-gyp-build')(__dirname)
