<?php
error_log('asked for the page');
echo 'php, version ', getenv('IMAGE_VERSION'), "\n";
